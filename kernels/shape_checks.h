// The checks that ops have in common, for shape_match*.cc alone.
#pragma once

#include "kernels/tensor.h"

namespace trireme::kernels {

inline bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

inline bool is_activation(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

inline void check_vector(const TensorView& view, DType dtype, const char* name) {
  CHECK_EQ(view.rank, 1) << name;
  CHECK_EQ(view.dtype, dtype) << name;
  CHECK(view.contiguous()) << name << " must be contiguous";
}

inline void check_matrix(const TensorView& view, const char* name) {
  CHECK_EQ(view.rank, 2) << name;
  CHECK_GE(view.row_stride, view.row_numel()) << name;
}

inline void check_f32_matrix(const TensorView& view, const char* name) {
  check_matrix(view, name);
  CHECK_EQ(view.dtype, DType::kF32) << name;
}

inline void check_activation_matrix(const TensorView& view, const char* name) {
  check_matrix(view, name);
  CHECK(is_activation(view.dtype)) << name << " is " << view.dtype;
}

inline void check_same_matrix(const TensorView& a, const TensorView& b, const char* names) {
  CHECK_EQ(a.dim(0), b.dim(0)) << names;
  CHECK_EQ(a.dim(1), b.dim(1)) << names;
}

inline void check_heads(const TensorView& view, const char* name) {
  CHECK_EQ(view.rank, 3) << name;
  CHECK_GE(view.row_stride, view.row_numel()) << name;
}

inline void check_f32_heads(const TensorView& view, const char* name) {
  check_heads(view, name);
  CHECK_EQ(view.dtype, DType::kF32) << name;
}

// One number for each row of `rows`.
inline void check_f32_column(const TensorView& view, const TensorView& rows, const char* name) {
  check_f32_matrix(view, name);
  CHECK_EQ(view.dim(0), rows.dim(0)) << name;
  CHECK_EQ(view.dim(1), 1) << name;
}

}  // namespace trireme::kernels
