#include "worker/worker_loop.h"

#include <variant>

#include "base/log.h"

namespace trireme::worker {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

Status run_plan(step::RankLink& link, Worker& worker, const step::StepPlan& plan) {
  auto result = worker.execute(plan);
  if (!result.ok()) {
    report_failure(link, worker.worker_rank(), plan.header.step, worker.last_op(), result.error());
    return result.error();
  }
  // The result first: the coordinator waits for it, and only counts the timings.
  if (result->has_value()) TRY(link.send(std::move(**result)));
  return link.send(step::StepTimings{.step = plan.header.step,
                                     .timing = worker.last_timing(),
                                     .experts = worker.last_expert_load()});
}

Status set_kv_blocks(step::RankLink& link, Worker& worker, const step::SetKvBlocks& command) {
  Status status = worker.allocate_kv(command.n_blocks);
  if (!status.ok()) {
    worker.abort(status.error().message);
    report_failure(link, worker.worker_rank(), StepId(0), "allocating KV blocks", status.error());
  }
  return status;
}

}  // namespace

LoadProgressFn report_progress(step::RankLink& link, int worker_rank) {
  return [&link, worker_rank, last_percent = int64_t{-1}](int64_t done, int64_t total) mutable {
    const int64_t percent = total > 0 ? done * 100 / total : 100;
    if (percent == last_percent) return;
    last_percent = percent;
    // A lost link is seen by the next receive; progress is not worth failing for.
    const Status sent = link.send(step::LoadProgress{worker_rank, done, total});
    if (!sent.ok()) log::debug("load progress was not sent: {}", sent.error().message);
  };
}

void report_failure(step::RankLink& link, int worker_rank, StepId step, const std::string& op,
                    const Error& error) {
  log::error("rank {} failed in step {} ({}): {}", worker_rank, step.value(), op,
             error.to_string());
  const Status sent = link.send(step::RankFailure{worker_rank, step, op, error.to_string()});
  if (!sent.ok()) log::warn("the failure was not sent: {}", sent.error().message);
}

Status run_worker_loop(step::RankLink& link, Worker& worker) {
  TRY(link.send(step::RankReady{.worker_rank = worker.worker_rank(),
                                .n_kv_blocks = worker.n_kv_blocks_possible(),
                                .weight_bytes = worker.weight_bytes(),
                                .load_ns = worker.load_ns(),
                                .startup_comm_ns = worker.startup_comm_ns(),
                                .device = worker.device()}));
  for (;;) {
    auto command = link.receive();
    if (!command.ok()) {
      worker.abort("the coordinator is lost");
      return command.error();
    }
    bool stop = false;
    const Status status = std::visit(
        Overloaded{[&](const step::SetKvBlocks& set) { return set_kv_blocks(link, worker, set); },
                   [&](const step::StepPlan& plan) { return run_plan(link, worker, plan); },
                   [&](const step::Shutdown& shutdown) {
                     log::info("rank {} ends: {}", worker.worker_rank(), shutdown.reason);
                     stop = true;
                     return Status();
                   }},
        *command);
    if (!status.ok()) return status;
    if (stop) return {};
  }
}

}  // namespace trireme::worker
