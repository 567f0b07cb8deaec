// One weight of a low-bit matrix on the device, for kernels that want it exactly and one by one.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/low_bit.h"
#include "kernels/quant/number_formats.h"

namespace trireme::kernels::cuda {

struct LowBitView {
  int64_t in_features;
  int64_t row_bytes;
  int64_t scales_at;
  int64_t zeros_at;
  int64_t n_groups;
  int32_t group_steps;
};

inline LowBitView view_of(const LowBitShape& shape) {
  return {.in_features = shape.in_features,
          .row_bytes = shape.row_bytes(),
          .scales_at = shape.scales_at,
          .zeros_at = shape.zeros_at,
          .n_groups = shape.n_groups,
          .group_steps = shape.group_steps};
}

// Where the scale of an output's 32 inputs from 32 `step` on is. In the padding, whose inputs are
// zeros, the last group's.
TRIREME_HD inline int64_t scale_index(const LowBitView& view, int64_t out, int32_t step) {
  const int64_t group = step / view.group_steps;
  return out * view.n_groups + (group < view.n_groups ? group : view.n_groups - 1);
}

template <LowBitCode kCode>
__device__ __forceinline__ float scale_of(const LowBitView& view, const uint8_t* weight,
                                          int64_t index) {
  if constexpr (kCode == LowBitCode::kE2M1) {
    return quant::e8m0_to_f32((weight + view.scales_at)[index]);
  } else {
    return reinterpret_cast<const float*>(weight + view.scales_at)[index];
  }
}
__device__ __forceinline__ int zero_of(const LowBitView& view, const uint8_t* weight,
                                       int64_t index) {
  return view.zeros_at == 0 ? kInt4Middle : (weight + view.zeros_at)[index];
}

// Input k of an output, zero from in_features on.
template <LowBitCode kCode>
__device__ __forceinline__ float low_bit_value(const LowBitView& view, const uint8_t* weight,
                                               int64_t out, int64_t k) {
  if (k >= view.in_features) return 0;
  const int64_t index = scale_index(view, out, static_cast<int32_t>(k / 32));
  const float scale = scale_of<kCode>(view, weight, index);
  const uint8_t* row = weight + out * view.row_bytes;
  if constexpr (kCode == LowBitCode::kE4M3) {
    return quant::e4m3_to_f32(row[k]) * scale;
  } else if constexpr (kCode == LowBitCode::kInt8) {
    return static_cast<float>(static_cast<int8_t>(row[k])) * scale;
  } else {
    const int64_t i = k / kNibblesPerWord;
    const uint32_t word = reinterpret_cast<const uint32_t*>(
        row)[i / 16 * 16 + nibble_word_at(static_cast<int>(i % 16))];
    if constexpr (kCode == LowBitCode::kE2M1) {
      return quant::e2m1_to_f32(static_cast<uint32_t>(nibble_of(word, k))) * scale;
    } else {
      return static_cast<float>(nibble_of(word, k) - zero_of(view, weight, index)) * scale;
    }
  }
}

// Calls `with` with the code as a constant.
template <LowBitCode kCode>
struct CodeConstant {
  static constexpr LowBitCode kValue = kCode;
};
template <typename With>
void with_code(LowBitCode code, With&& with) {
  switch (code) {
    case LowBitCode::kE4M3:
      return with(CodeConstant<LowBitCode::kE4M3>{});
    case LowBitCode::kInt4:
      return with(CodeConstant<LowBitCode::kInt4>{});
    case LowBitCode::kInt8:
      return with(CodeConstant<LowBitCode::kInt8>{});
    case LowBitCode::kE2M1:
      return with(CodeConstant<LowBitCode::kE2M1>{});
  }
}

}  // namespace trireme::kernels::cuda
