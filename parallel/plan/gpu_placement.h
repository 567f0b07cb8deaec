// Which GPU each rank of a replica takes: one of its own, on the machine where the rank runs. Pure.
//
// The ranks of a machine take its GPUs in the order of ranks, behind those that earlier replicas
// have on the same machine. Every rank of a replica sees the same facts and finds the same answer,
// or the same error.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/cuda/devices.h"

namespace trireme::plan {

// What a rank knows of the machine that it runs on.
struct RankMachine {
  std::string host;                                 // ranks with the same name share the GPUs
  std::vector<kernels::cuda::GpuDescription> gpus;  // in the driver's order
  int n_taken = 0;                                  // of them, by ranks of earlier replicas
};

// The device of each worker rank. failed_precondition, with the numbers: a machine with fewer GPUs
// than ranks; a tensor-parallel group whose GPUs are not of one model, as the slowest would set
// its pace and the smallest its memory.
Result<std::vector<int>> place_on_gpus(const std::vector<RankMachine>& machine_of_rank, int tp);

// The same for a machine that holds all ranks of `n_replicas` replicas.
Status check_gpus_of_one_machine(const std::vector<kernels::cuda::GpuDescription>& gpus, int tp,
                                 int pp, int n_replicas);

}  // namespace trireme::plan
