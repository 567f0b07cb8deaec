// Elementwise and row-wise ops over an instruction set's Simd type, one row per call.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/vector_math.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct RowOps {
  using F = typename S::F;
  using M = VectorMath<S>;
  static constexpr int64_t kWidth = S::kWidth;

  // The dtype is decided outside the loop.
  template <DType kFrom>
  static void expand(const void* from, int64_t n, float* to) {
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) S::store(to + i, M::load_any(from, kFrom, i));
    if (i < n) M::store_tail(to, DType::kF32, i, n - i, M::load_tail(from, kFrom, i, n - i));
  }

  static void to_f32(const void* from, DType dtype, int64_t n, float* to) {
    switch (dtype) {
      case DType::kBF16:
        return expand<DType::kBF16>(from, n, to);
      case DType::kF16:
        return expand<DType::kF16>(from, n, to);
      case DType::kE4M3:
        return expand<DType::kE4M3>(from, n, to);
      default:
        return expand<DType::kF32>(from, n, to);
    }
  }

  static void from_f32(const float* from, int64_t n, DType dtype, void* to) {
    add_bias(from, nullptr, n, dtype, to);
  }

  // to = from * factor between any two dtypes.
  static void convert_scaled(const void* from, DType from_dtype, float factor, int64_t n,
                             DType to_dtype, void* to) {
    const F f = S::set1(factor);
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      M::store_any(to, to_dtype, i, S::mul(M::load_any(from, from_dtype, i), f));
    }
    if (i < n) {
      const F tail = S::mul(M::load_tail(from, from_dtype, i, n - i), f);
      M::store_tail(to, to_dtype, i, n - i, tail);
    }
  }

  static void add_bias(const float* from, const float* bias, int64_t n, DType dtype, void* to) {
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      F x = S::load(from + i);
      if (bias != nullptr) x = S::add(x, S::load(bias + i));
      M::store_any(to, dtype, i, x);
    }
    if (i < n) {
      F x = M::load_tail(from, DType::kF32, i, n - i);
      if (bias != nullptr) x = S::add(x, M::load_tail(bias, DType::kF32, i, n - i));
      M::store_tail(to, dtype, i, n - i, x);
    }
  }

  // y += scale * x.
  static void add(const float* x, float scale, int64_t n, float* y) {
    const F factor = S::set1(scale);
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      S::store(y + i, S::fma(S::load(x + i), factor, S::load(y + i)));
    }
    if (i < n) {
      const F tail = S::fma(M::load_tail(x, DType::kF32, i, n - i), factor,
                            M::load_tail(y, DType::kF32, i, n - i));
      M::store_tail(y, DType::kF32, i, n - i, tail);
    }
  }

  // out = x * factor * weight, weight may be null.
  static void scale(const float* x, float factor, const float* weight, int64_t n, DType out_dtype,
                    void* out) {
    const F f = S::set1(factor);
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      F v = S::mul(S::load(x + i), f);
      if (weight != nullptr) v = S::mul(v, S::load(weight + i));
      M::store_any(out, out_dtype, i, v);
    }
    if (i < n) {
      F v = S::mul(M::load_tail(x, DType::kF32, i, n - i), f);
      if (weight != nullptr) v = S::mul(v, M::load_tail(weight, DType::kF32, i, n - i));
      M::store_tail(out, out_dtype, i, n - i, v);
    }
  }

  static void rope(float* heads, int64_t n_heads, int64_t head_dim, int64_t half, const float* cos,
                   const float* sin) {
    for (int64_t h = 0; h < n_heads; ++h) {
      float* a = heads + h * head_dim;
      float* b = a + half;
      for (int64_t i = 0; i < half; i += kWidth) {
        const int64_t n = half - i;
        const bool whole = n >= kWidth;
        const F c = whole ? S::load(cos + i) : M::load_tail(cos, DType::kF32, i, n);
        const F s = whole ? S::load(sin + i) : M::load_tail(sin, DType::kF32, i, n);
        const F x = whole ? S::load(a + i) : M::load_tail(a, DType::kF32, i, n);
        const F y = whole ? S::load(b + i) : M::load_tail(b, DType::kF32, i, n);
        const F rx = S::fnma(y, s, S::mul(x, c));
        const F ry = S::fma(x, s, S::mul(y, c));
        if (whole) {
          S::store(a + i, rx);
          S::store(b + i, ry);
        } else {
          M::store_tail(a, DType::kF32, i, n, rx);
          M::store_tail(b, DType::kF32, i, n, ry);
        }
      }
    }
  }

  static void rope_interleaved(float* heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim,
                               const float* cos, const float* sin) {
    for (int64_t h = 0; h < n_heads; ++h) {
      float* x = heads + h * head_dim;
      int64_t i = 0;
      for (; i + kWidth <= rotary_dim; i += kWidth) {
        const F v = S::load(x + i);
        const F turned = S::mul(v, S::load(cos + i));
        S::store(x + i, S::fma(S::swap_pairs(v), S::load(sin + i), turned));
      }
      if (i < rotary_dim) {
        const int64_t n = rotary_dim - i;
        const F v = M::load_tail(x, DType::kF32, i, n);
        const F turned = S::mul(v, M::load_tail(cos, DType::kF32, i, n));
        const F s = M::load_tail(sin, DType::kF32, i, n);
        M::store_tail(x, DType::kF32, i, n, S::fma(S::swap_pairs(v), s, turned));
      }
    }
  }

  static void max_sum_exp(const float* x, int64_t n, float* max, float* sum_exp) {
    const F lowest = S::set1(-__builtin_inff());
    F highest = lowest;
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) highest = S::max(highest, S::load(x + i));
    if (i < n) {
      const F tail = M::load_tail(x, DType::kF32, i, n - i);
      highest = S::max(highest, S::keep_first(tail, n - i, lowest));
    }
    *max = S::reduce_max(highest);
    *sum_exp = 0;
    if (*max == -__builtin_inff()) return;  // no element, or padding only
    const F offset = S::set1(*max);
    // Runs of 64 vectors are summed apart: beside a sum near 1, the tail of a large vocabulary
    // would be rounded away.
    double total = 0;
    for (i = 0; i < n;) {
      F sum = S::zero();
      const int64_t end = n - i < 64 * kWidth ? n : i + 64 * kWidth;
      for (; i + kWidth <= end; i += kWidth) {
        sum = S::add(sum, M::exp(S::sub(S::load(x + i), offset)));
      }
      if (i < end) {
        const F tail = M::exp(S::sub(M::load_tail(x, DType::kF32, i, end - i), offset));
        sum = S::add(sum, S::keep_first(tail, end - i, S::zero()));
        i = end;
      }
      total += S::reduce_add(sum);
    }
    *sum_exp = static_cast<float>(total);
  }

  // to[u][i] = rows[i][u] for i in [0, kWidth): n_rows of them exist, the others are zeros. `to`
  // has kPanelWidth columns.
  static void transpose_rows(const float* rows, int64_t row_stride, int64_t n_rows, int64_t n_units,
                             float* to) {
    F v[S::kWidth];
    int64_t u = 0;
    if (n_rows >= kWidth) {
      for (; u + kWidth <= n_units; u += kWidth) {
        for (int i = 0; i < S::kWidth; ++i) v[i] = S::load(rows + i * row_stride + u);
        S::transpose(v);
        for (int i = 0; i < S::kWidth; ++i) S::store(to + (u + i) * kPanelWidth, v[i]);
      }
    }
    for (; u < n_units; u += kWidth) {
      const int64_t n = n_units - u < kWidth ? n_units - u : kWidth;
      for (int64_t i = 0; i < kWidth; ++i) {
        v[i] = i < n_rows ? M::load_tail(rows + i * row_stride, DType::kF32, u, n) : S::zero();
      }
      S::transpose(v);
      for (int64_t i = 0; i < n; ++i) S::store(to + (u + i) * kPanelWidth, v[i]);
    }
  }

  static void transpose_to_panel(const uint32_t* rows, int64_t row_stride, int64_t n_rows,
                                 int64_t n_units, uint32_t* panel) {
    const float* from = reinterpret_cast<const float*>(rows);
    float* to = reinterpret_cast<float*>(panel);
    for (int64_t r = 0; r < kPanelWidth; r += kWidth) {
      transpose_rows(from + r * row_stride, row_stride, n_rows - r, n_units, to + r);
    }
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
