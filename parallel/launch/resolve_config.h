// What a cluster file leaves open ("auto", 0, no name), filled in for this machine. Every process of a cluster does it for
// itself, so that a rank that mpirun starts directly reads the same file as one that `trireme serve` starts. Idempotent.
#pragma once

#include "base/cluster_config.h"
#include "base/result.h"

namespace trireme::launch {

// Backend, collective, compute type, threads and memory per rank (this machine's or this container's, divided by the
// ranks of the host that has most of them), the served
// name (the model folder's) and the state folder. unimplemented or failed_precondition: what this build has not.
Status resolve_config(ClusterConfig& config);

}  // namespace trireme::launch
