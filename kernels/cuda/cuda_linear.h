// Linear: which product kernel takes a linear op, and x in the form that it reads.
//
// Belongs to one backend and its thread.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/large_gemm.h"
#include "kernels/cuda/low_bit.h"
#include "kernels/cuda/packed_weight.h"

namespace trireme::kernels::cuda {

// Device memory that grows to the largest request. Growing waits for the device: steady use is
// free.
class DeviceScratch {
 public:
  void* get(size_t bytes, const Launcher& launcher);
  uint64_t n_moves() const { return n_moves_; }

 private:
  uint64_t n_moves_ = 0;
  std::unique_ptr<DeviceBuffer> buffer_;
};

class Linear {
 public:
  // The workspace outlives it. Low-bit weights are expanded for many rows by pieces of at most
  // `expand_bytes`, or of 16 outputs.
  Linear(ComputeDType compute_dtype, const GemmWorkspace& workspace, size_t expand_bytes,
         std::unique_ptr<LargeGemm> large)
      : compute_dtype_(compute_dtype),
        workspace_(workspace),
        expand_bytes_(expand_bytes),
        large_(std::move(large)) {}

  // Takes the memory now that linear ops on such a weight will want.
  void reserve(const LowBitShape& shape, const Launcher& launcher);

  // Shapes were checked by the caller.
  void run(const LinearArgs& args, const Launcher& launcher);
  void run_grouped(const GroupedLinearArgs& args, const Launcher& launcher);
  void run_heads(const HeadLinearArgs& args, const Launcher& launcher);
  // How often memory that kernels were given has moved.
  uint64_t n_moves() const { return x_.n_moves() + expanded_.n_moves(); }

 private:
  void read_x(const TensorView& x, int64_t pitch, GemmOperands* operands, const Launcher& launcher);
  void set_x(const TensorView& x, int64_t pitch, GemmOperands* operands, const Launcher& launcher);
  void multiply(const GemmOperands& operands, const Launcher& launcher);
  void multiply_in_one_order(const GemmOperands& operands, const Launcher& launcher);
  void run_low_bit(const LinearArgs& args, const CudaLowBitWeight& weight,
                   const Launcher& launcher);
  void run_grouped_low_bit(const GroupedLinearArgs& args, const Launcher& launcher);
  void set_low_bit_x(const TensorView& x, const LowBitShape& shape, GemmOperands* operands,
                     const Launcher& launcher);
  void multiply_expanded(const CudaLowBitWeight& weight, const GemmOperands& operands,
                         const Launcher& launcher);
  int64_t outs_at_once(const LowBitShape& shape) const;

  ComputeDType compute_dtype_;
  GemmWorkspace workspace_;
  size_t expand_bytes_;
  std::unique_ptr<LargeGemm> large_;  // or nullptr
  DeviceScratch x_;
  DeviceScratch expanded_;
};

}  // namespace trireme::kernels::cuda
