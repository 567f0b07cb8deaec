// From the cluster's configuration to a rank's options and backend. The rank's main program and the
// embedded form use it.
#pragma once

#include <memory>
#include <string>

#include "base/cluster_config.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "worker/worker.h"

namespace trireme::worker {

// Reads the model's config.json and cuts it as the configuration says.
Result<WorkerOptions> worker_options(const ClusterConfig& config, int worker_rank);

// failed_precondition when the configured backend is not in this build or on this machine. A rank
// on a GPU has one of its own: the ranks of a machine, named `host`, take its GPUs in order, behind
// the `n_taken` that earlier replicas have there (gpu_choice.h). Called by every rank, with its
// groups over host memory.
Result<std::unique_ptr<kernels::Backend>> make_backend(const ClusterConfig& config,
                                                       const std::string& host, int n_taken,
                                                       comm::Mesh& mesh);

// The groups that the backend's memory wants: the host's own for CPUs and for a single rank,
// NCCL's, started over them, for several GPUs. `machine` is any name that this rank's machine alone
// has. Called by every rank, after make_backend.
Result<comm::Mesh> make_device_mesh(const ClusterConfig& config, const std::string& machine,
                                    kernels::Backend& backend, comm::Mesh host, const Clock& clock);

}  // namespace trireme::worker
