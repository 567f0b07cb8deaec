// Norms over an instruction set's Simd type, one row or head per call.
#pragma once

#include <cstdint>

#include "kernels/cpu/row_ops_impl.h"
#include "kernels/cpu/vector_math.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct Norms {
  using F = typename S::F;
  using M = VectorMath<S>;
  using Rows = RowOps<S>;
  static constexpr int64_t kWidth = S::kWidth;

  // The sum of term(vector, lanes) over a row: in four chains, so that it is not bound by the
  // adder's latency. Lanes behind the row's end are zeros.
  template <typename Accumulate>
  static float sum_of(const float* x, int64_t n, Accumulate&& accumulate) {
    F sums[4] = {S::zero(), S::zero(), S::zero(), S::zero()};
    int64_t i = 0;
    for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
      for (int c = 0; c < 4; ++c)
        sums[c] = accumulate(sums[c], S::load(x + i + c * kWidth), kWidth);
    }
    for (; i < n; i += kWidth) {
      const bool whole = n - i >= kWidth;
      const F v = whole ? S::load(x + i) : M::load_tail(x, DType::kF32, i, n - i);
      sums[0] = accumulate(sums[0], v, n - i);
    }
    return S::reduce_add(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
  }

  static float sum_squares(const float* x, int64_t n) {
    return sum_of(x, n, [](F sum, F v, int64_t) { return S::fma(v, v, sum); });
  }

  static void rms_norm(float* x, const float* delta, float delta_scale, const float* weight,
                       float eps, int64_t n, DType out_dtype, void* out) {
    if (delta != nullptr) Rows::add(delta, delta_scale, n, x);
    const float inv_rms = 1.0f / __builtin_sqrtf(sum_squares(x, n) / static_cast<float>(n) + eps);
    Rows::scale(x, inv_rms, weight, n, out_dtype, out);
  }

  static F finish_layer_norm(F x, F mean, F factor, const float* weight, const float* bias,
                             int64_t i, int64_t n) {
    const bool whole = n >= kWidth;
    F v = S::mul(S::sub(x, mean), factor);
    if (weight != nullptr) {
      v = S::mul(v, whole ? S::load(weight + i) : M::load_tail(weight, DType::kF32, i, n));
    }
    if (bias != nullptr) {
      v = S::add(v, whole ? S::load(bias + i) : M::load_tail(bias, DType::kF32, i, n));
    }
    return v;
  }

  static void layer_norm(const float* x, const float* weight, const float* bias, float eps,
                         int64_t n, DType out_dtype, void* out) {
    const auto width = static_cast<float>(n);
    const float sum = sum_of(x, n, [](F total, F v, int64_t) { return S::add(total, v); });
    const F mean = S::set1(sum / width);
    const float squares = sum_of(x, n, [mean](F total, F v, int64_t n_lanes) {
      const F d = S::keep_first(S::sub(v, mean), n_lanes, S::zero());
      return S::fma(d, d, total);
    });
    const F factor = S::set1(1.0f / __builtin_sqrtf(squares / width + eps));
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      const F v = finish_layer_norm(S::load(x + i), mean, factor, weight, bias, i, kWidth);
      M::store_any(out, out_dtype, i, v);
    }
    if (i < n) {
      const F tail = M::load_tail(x, DType::kF32, i, n - i);
      const F v = finish_layer_norm(tail, mean, factor, weight, bias, i, n - i);
      M::store_tail(out, out_dtype, i, n - i, v);
    }
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
