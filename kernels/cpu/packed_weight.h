// CpuPackedWeight: a weight matrix cut into panels of kPanelWidth outputs, each panel input by
// input.
//
// One layout serves one row and many. With bf16 elements a unit is a pair of inputs, as the bf16
// dot product wants it; with f32 elements a unit is one input. Outputs beyond the last and inputs
// beyond an odd last one are zeros.
#pragma once

#include <memory>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::kernels::cpu {

class CpuPackedWeight final : public PackedWeight {
 public:
  CpuPackedWeight(std::unique_ptr<Buffer> buffer, int64_t out, int64_t in, DType element)
      : buffer_(std::move(buffer)), out_(out), in_(in), element_(element) {}

  int64_t out_features() const override { return out_; }
  int64_t in_features() const override { return in_; }
  size_t bytes() const override { return buffer_->bytes(); }

  DType element() const { return element_; }  // f32 or bf16
  int64_t n_units() const { return element_ == DType::kBF16 ? (in_ + 1) / 2 : in_; }
  int64_t n_panels() const { return (out_ + kPanelWidth - 1) / kPanelWidth; }
  // [n_units][kPanelWidth] units of 4 bytes.
  uint32_t* panel(int64_t i) const {
    return static_cast<uint32_t*>(buffer_->data()) + i * n_units() * kPanelWidth;
  }

 private:
  std::unique_ptr<Buffer> buffer_;
  int64_t out_;
  int64_t in_;
  DType element_;
};

// bf16 weights stay bf16 under both compute dtypes, since they expand exactly; f16 and f32 weights
// are rounded to bf16 for bf16 compute and kept as f32 for f32 compute.
Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype, const IsaKernels& isa,
                                                  ThreadPool* pool);

}  // namespace trireme::kernels::cpu
