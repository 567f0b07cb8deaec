// CpuLowBitWeight: a weight of low-bit codes, in panels of kPanelWidth outputs like
// CpuPackedWeight.
//
// A panel is a unit of each of its outputs after the other; a unit is a word of 4 (kE4M3, kInt8) or
// 8 (kInt4) inputs, see low_bit_impl.h. Its scales and zero points follow group by group. Units of
// kE2M1 are 32 inputs with their scales (isa_kernels.h). Codes beyond the last input and output are
// zeros; inputs of x there must be zeros too, and a last group that is not whole ends with the
// inputs.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::kernels::cpu {

// Inputs of x are padded with zeros to a multiple of this.
inline constexpr int64_t kLowBitInputPadding = 64;

class CpuLowBitWeight final : public PackedWeight {
 public:
  // Allocates; the caller fills it.
  static Result<std::unique_ptr<CpuLowBitWeight>> create(const LowBitMatrix& like);

  int64_t out_features() const override { return out_; }
  int64_t in_features() const override { return in_; }
  size_t bytes() const override;

  LowBitCode code() const { return code_; }
  // Whether scales are in the units and not apart.
  bool has_scaled_units() const { return code_ == LowBitCode::kE2M1; }
  int64_t inputs_per_unit() const {
    if (has_scaled_units()) return kE2M1Group;
    return is_nibbles(code_) ? 8 : 4;
  }
  int64_t unit_words() const { return has_scaled_units() ? kScaledUnitWords : kPanelWidth; }
  int64_t n_units() const { return (in_ + inputs_per_unit() - 1) / inputs_per_unit(); }
  int64_t n_panels() const { return (out_ + kPanelWidth - 1) / kPanelWidth; }
  int64_t group_units() const { return group_units_; }
  int64_t n_groups() const { return (n_units() + group_units_ - 1) / group_units_; }

  // [n_units][unit_words]
  uint32_t* panel(int64_t i) const {
    return static_cast<uint32_t*>(codes_->data()) + i * n_units() * unit_words();
  }
  // [n_groups][kPanelWidth], of units that are not scaled.
  float* scales(int64_t panel) const {
    return static_cast<float*>(scales_->data()) + panel * n_groups() * kPanelWidth;
  }
  // Zero points less 8, [n_groups][kPanelWidth]; null where all are 0.
  int8_t* offsets(int64_t panel) const {
    if (offsets_ == nullptr) return nullptr;
    return static_cast<int8_t*>(offsets_->data()) + panel * n_groups() * kPanelWidth;
  }
  // Empty, or the layer's input behind each stored one.
  const std::vector<int32_t>& input_order() const { return input_order_; }

 private:
  CpuLowBitWeight() = default;

  LowBitCode code_ = LowBitCode::kE4M3;
  int64_t out_ = 0;
  int64_t in_ = 0;
  int64_t group_units_ = 0;
  std::unique_ptr<Buffer> codes_;
  std::unique_ptr<Buffer> scales_;
  std::unique_ptr<Buffer> offsets_;
  std::vector<int32_t> input_order_;
};

Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight,
                                                   const IsaKernels& isa, ThreadPool* pool);

}  // namespace trireme::kernels::cpu
