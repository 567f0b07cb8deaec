// Many rows against one weight, by cuBLASLt.
//
// The library suggests algorithms for a shape; the first time that a bucket of row counts is met
// they are tried on the operands at hand, and the fastest is kept, in memory and in a file
// (tuning_cache.h). While work is being recorded nothing is tried: the first suggestion serves.
//
// Used by the backend's thread. Absent on the emulator, where tile_gemm takes its place.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/cuda/gemm.h"

namespace trireme::kernels::cuda {

class LargeGemm {
 public:
  virtual ~LargeGemm() = default;
  // False when the library has no algorithm for the operands. Without the bias.
  virtual bool run(const GemmOperands& operands, const Launcher& launcher) = 0;
};

struct LargeGemmOptions {
  std::string device;       // its name
  std::string tuning_file;  // empty: choices are not kept
};

// nullptr where there is no such library; its workspace is device memory of its own.
Result<std::unique_ptr<LargeGemm>> make_large_gemm(const LargeGemmOptions& options);

}  // namespace trireme::kernels::cuda
