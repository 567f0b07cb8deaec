// Many rows against one weight, by cuBLASLt. The algorithm is the library's first suggestion for
// the shape, asked for once.
//
// Used by the backend's thread. Absent on the emulator, where tile_gemm takes its place.
#pragma once

#include <memory>

#include "base/result.h"
#include "kernels/cuda/gemm.h"

namespace trireme::kernels::cuda {

class LargeGemm {
 public:
  virtual ~LargeGemm() = default;
  // False when the library has no algorithm for the operands. Without the bias.
  virtual bool run(const GemmOperands& operands, const Launcher& launcher) = 0;
};

// nullptr where there is no such library; its workspace is device memory of its own.
Result<std::unique_ptr<LargeGemm>> make_large_gemm();

}  // namespace trireme::kernels::cuda
