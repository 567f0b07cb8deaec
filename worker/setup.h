// From the cluster's configuration to a rank's options and backend. The rank's main program and the
// embedded form use it.
#pragma once

#include <memory>

#include "base/cluster_config.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "worker/worker.h"

namespace trireme::worker {

// Reads the model's config.json and cuts it as the configuration says.
Result<WorkerOptions> worker_options(const ClusterConfig& config, int worker_rank);

// failed_precondition when the configured backend is not in this build or on this machine.
Result<std::unique_ptr<kernels::Backend>> make_backend(const ClusterConfig& config, int local_rank);

}  // namespace trireme::worker
