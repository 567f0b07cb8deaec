// The life of a rank behind a link: say that it is ready, obey, report.
//
// The rank's main program and the embedded form (ranks as threads of one process) both run this.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "parallel/step/step_link.h"
#include "worker/worker.h"

namespace trireme::worker {

// Sends LoadProgress at most every 1 % of the bytes, for Worker::create. The link outlives the
// function.
LoadProgressFn report_progress(step::RankLink& link, int worker_rank);

// Sends RankReady, then obeys until Shutdown (success): SetKvBlocks, then StepPlans in order, each
// answered by StepTimings and, where the executor has one, the StepResult. On failure sends
// RankFailure and returns the error; the process should end.
Status run_worker_loop(step::RankLink& link, Worker& worker);

// For an error before there is a worker: the RankFailure that the coordinator is told.
void report_failure(step::RankLink& link, int worker_rank, StepId step, const std::string& op,
                    const Error& error);

}  // namespace trireme::worker
