// Linear: which product kernel takes a linear op, and x in the form that it reads.
//
// Belongs to one backend and its thread.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/large_gemm.h"
#include "kernels/cuda/packed_weight.h"

namespace trireme::kernels::cuda {

// Device memory that grows to the largest request. Growing waits for the device: steady use is
// free.
class DeviceScratch {
 public:
  void* get(size_t bytes, const Launcher& launcher);

 private:
  std::unique_ptr<DeviceBuffer> buffer_;
};

class Linear {
 public:
  // The workspace outlives it.
  Linear(ComputeDType compute_dtype, const GemmWorkspace& workspace,
         std::unique_ptr<LargeGemm> large)
      : compute_dtype_(compute_dtype), workspace_(workspace), large_(std::move(large)) {}

  // Shapes were checked by the caller.
  void run(const LinearArgs& args, const Launcher& launcher);
  void run_grouped(const GroupedLinearArgs& args, const Launcher& launcher);

 private:
  void read_x(const TensorView& x, int64_t pitch, GemmOperands* operands, const Launcher& launcher);
  void set_x(const TensorView& x, int64_t pitch, GemmOperands* operands, const Launcher& launcher);
  void multiply(const GemmOperands& operands, const Launcher& launcher);

  ComputeDType compute_dtype_;
  GemmWorkspace workspace_;
  std::unique_ptr<LargeGemm> large_;  // or nullptr
  DeviceScratch x_;
};

}  // namespace trireme::kernels::cuda
