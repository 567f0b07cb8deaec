// One element of a tensor as f32, whatever its dtype.
#pragma once

#include "base/check.h"
#include "kernels/tensor.h"

namespace trireme::kernels::reference {

// Element j of row i, counted within the row.
inline float load(const TensorView& view, int64_t i, int64_t j) {
  switch (view.dtype) {
    case DType::kF32:
      return view.row<float>(i)[j];
    case DType::kF16:
      return to_f32(view.row<f16>(i)[j]);
    case DType::kBF16:
      return to_f32(view.row<bf16>(i)[j]);
    case DType::kE4M3:
      return to_f32(view.row<e4m3>(i)[j]);
    default:
      CHECK(false) << "not a floating point dtype: " << view.dtype;
      return 0;
  }
}

inline void store(const TensorView& view, int64_t i, int64_t j, float value) {
  switch (view.dtype) {
    case DType::kF32:
      view.row<float>(i)[j] = value;
      return;
    case DType::kF16:
      view.row<f16>(i)[j] = to_f16(value);
      return;
    case DType::kBF16:
      view.row<bf16>(i)[j] = to_bf16(value);
      return;
    case DType::kE4M3:
      view.row<e4m3>(i)[j] = to_e4m3(value);
      return;
    default:
      CHECK(false) << "not a floating point dtype: " << view.dtype;
  }
}

// The weight of a head norm at head h, channel c: [head_dim] or [n_heads, head_dim] f32, or
// undefined.
inline float head_weight(const TensorView& weight, int64_t h, int64_t c) {
  if (!weight.defined()) return 1;
  return weight.rank == 1 ? weight.as<float>()[c] : weight.row<float>(h)[c];
}

}  // namespace trireme::kernels::reference
