// TensorView: a typed, shaped window on memory that somebody else owns.
//
// Row-major. Dimensions 1.. are dense; dimension 0 may be strided, so that one fused projection can be viewed as
// its parts ([n_tokens, q | k | v] without a copy). A view never owns, never converts and never crosses devices.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "base/check.h"
#include "kernels/dtype.h"

namespace trireme {

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() { return DType::kF32; }
template <>
constexpr DType dtype_of<f16>() { return DType::kF16; }
template <>
constexpr DType dtype_of<bf16>() { return DType::kBF16; }
template <>
constexpr DType dtype_of<e4m3>() { return DType::kE4M3; }
template <>
constexpr DType dtype_of<int32_t>() { return DType::kI32; }
template <>
constexpr DType dtype_of<int64_t>() { return DType::kI64; }
template <>
constexpr DType dtype_of<int8_t>() { return DType::kI8; }
template <>
constexpr DType dtype_of<uint8_t>() { return DType::kU8; }

struct TensorView {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  int64_t row_stride = 0;  // elements between consecutive indices of dimension 0

  TensorView() = default;
  TensorView(void* data_in, DType dtype_in, std::initializer_list<int64_t> shape_in)
      : data(data_in), dtype(dtype_in) {
    CHECK_LE(shape_in.size(), static_cast<size_t>(kMaxRank));
    for (const int64_t extent : shape_in) shape[rank++] = extent;
    row_stride = row_numel();
  }

  bool defined() const { return data != nullptr; }
  int64_t dim(int i) const {
    CHECK_LT(i, rank);
    return shape[i];
  }
  // Elements of one index of dimension 0.
  int64_t row_numel() const {
    int64_t n = 1;
    for (int i = 1; i < rank; ++i) n *= shape[i];
    return n;
  }
  int64_t numel() const { return rank == 0 ? 1 : shape[0] * row_numel(); }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype); }
  bool contiguous() const { return rank == 0 || shape[0] <= 1 || row_stride == row_numel(); }

  template <typename T>
  T* as() const {
    CHECK_EQ(dtype, dtype_of<T>());
    return static_cast<T*>(data);
  }
  template <typename T>
  T* row(int64_t i) const {
    return as<T>() + i * row_stride;
  }

  // Indices [begin, end) of dimension 0.
  TensorView rows(int64_t begin, int64_t end) const {
    CHECK_LE(0, begin);
    CHECK_LE(begin, end);
    CHECK_LE(end, shape[0]);
    TensorView view = *this;
    view.data = static_cast<char*>(data) + static_cast<size_t>(begin * row_stride) * size_of(dtype);
    view.shape[0] = end - begin;
    return view;
  }
  // Columns [begin, end) of a [rows, columns] matrix, strided.
  TensorView columns(int64_t begin, int64_t end) const {
    CHECK_EQ(rank, 2);
    CHECK_LE(begin, end);
    CHECK_LE(end, shape[1]);
    TensorView view = *this;
    view.data = static_cast<char*>(data) + static_cast<size_t>(begin) * size_of(dtype);
    view.shape[1] = end - begin;
    return view;
  }
  // [rows, a * b] seen as [rows, a, b]; row_stride is kept.
  TensorView split_columns(int64_t a, int64_t b) const {
    CHECK_EQ(rank, 2);
    CHECK_EQ(shape[1], a * b);
    TensorView view = *this;
    view.rank = 3;
    view.shape[1] = a;
    view.shape[2] = b;
    return view;
  }
};

}  // namespace trireme
