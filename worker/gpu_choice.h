// Which GPU a rank takes: the ranks of a replica tell each other what their machines have, over the
// groups that they have before they have GPUs, and place themselves (plan/gpu_placement.h).
#pragma once

#include "base/result.h"
#include "parallel/comm/mesh.h"
#include "parallel/plan/gpu_placement.h"

namespace trireme::worker {

// Collective over the mesh's world group, which is over host memory. The device of this rank. The
// errors of place_on_gpus, and of a machine whose GPUs cannot be listed, are the same on every
// rank and name the rank where that is one.
// `gpus` is what this rank's machine answered, `n_taken` how many of them ranks of earlier replicas
// have.
Result<int> choose_gpu(const std::string& host, int n_taken,
                       const Result<std::vector<kernels::cuda::GpuDescription>>& gpus,
                       comm::Mesh& mesh);

}  // namespace trireme::worker
