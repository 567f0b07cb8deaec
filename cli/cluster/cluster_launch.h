// What `trireme serve` starts: the processes of a cluster on this machine, from a ClusterConfig.
// Pure but for the probes.
#pragma once

#include <string>
#include <vector>

#include "base/cluster_config.h"
#include "base/result.h"
#include "cli/cluster/supervisor.h"
#include "parallel/launch/host_assignment.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"

namespace trireme::cli {

// A config made ready for this machine: "auto" resolved, threads and memory divided, free ports
// found where 0 was asked for, and the plan known to fit.
struct LaunchPlan {
  ClusterConfig config;
  plan::ModelSpec spec;
  plan::ParallelPlan parallel;
  std::vector<launch::ReplicaHosts> hosts;  // by replica; empty: all of it on this machine
};

// Says before anything is started what would fail: a plan that the shapes forbid, not enough memory
// (with the numbers and what would fit), a missing model, a backend that this build lacks.
Result<LaunchPlan> prepare_launch(ClusterConfig config);

// Routers, then replicas. `config_path` is the YAML that every process reads; `bin_dir` holds the
// binaries.
std::vector<ProcessSpec> process_specs(const LaunchPlan& launch, const std::string& bin_dir,
                                       const std::string& config_path);

// True once every router answers GET /readiness with 200 on its admin port.
bool routers_ready(const ClusterConfig& config);

// The folder of this executable.
std::string binary_dir();

}  // namespace trireme::cli
