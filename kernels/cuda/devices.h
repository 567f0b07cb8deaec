// The GPUs of this machine, as a plan sees them: what they are, before any is opened.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace trireme::kernels::cuda {

struct GpuDescription {
  std::string name;  // "NVIDIA H200"
  int64_t memory_bytes = 0;
};

// In the driver's order; at least one. Opens none of them. failed_precondition with the reason:
// built without CUDA, no driver, a driver older than the build's toolkit, no GPU.
Result<std::vector<GpuDescription>> list_gpus();

}  // namespace trireme::kernels::cuda
