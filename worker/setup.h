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

// failed_precondition when the configured backend is not in this build or on this machine. One GPU
// per rank: rank r takes device r modulo the machine's, which gives neighbours in a node devices of
// their own wherever a node holds as many ranks as it has devices.
Result<std::unique_ptr<kernels::Backend>> make_backend(const ClusterConfig& config,
                                                       int worker_rank);

// The groups that the backend's memory wants: the host's own for CPUs and for a single rank,
// NCCL's, started over them, for several GPUs. Called by every rank, after make_backend.
Result<comm::Mesh> make_device_mesh(const ClusterConfig& config, comm::Mesh host,
                                    const Clock& clock);

}  // namespace trireme::worker
