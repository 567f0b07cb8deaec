// Activation functions over an instruction set's Simd type, one row per call.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/vector_math.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct Activations {
  using F = typename S::F;
  using M = VectorMath<S>;
  static constexpr int64_t kWidth = S::kWidth;

  static F silu(F x) { return S::div(x, S::add(S::set1(1.0f), M::exp(S::sub(S::zero(), x)))); }

  // x times the normal distribution's share below x, taken from the side of its small tail.
  static F gelu(F x) {
    const F size = S::max(x, S::sub(S::zero(), x));
    const F tail = S::mul(S::set1(0.5f), M::erfc(S::mul(size, S::set1(0.70710678f))));
    const F rest = S::sub(S::set1(1.0f), S::add(tail, tail));
    return S::mul(x, S::add(tail, S::zero_unless_ge(x, S::zero(), rest)));
  }

  // (1 + tanh(u)) / 2 is the sigmoid of 2 u.
  static F gelu_tanh(F x) {
    const F cube = S::mul(S::mul(x, x), x);
    const F u = S::mul(S::set1(2 * 0.79788456f), S::fma(cube, S::set1(0.044715f), x));
    return S::div(x, S::add(S::set1(1.0f), M::exp(S::sub(S::zero(), u))));
  }

  template <Activation kActivation>
  static F apply(F x) {
    if constexpr (kActivation == Activation::kGelu) return gelu(x);
    if constexpr (kActivation == Activation::kGeluTanh) return gelu_tanh(x);
    return silu(x);
  }

  // out = function(a, b), where b is null for functions of one operand.
  template <typename Function>
  static void map(const float* a, const float* b, int64_t n, DType out_dtype, void* out,
                  Function&& function) {
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      const F y = b == nullptr ? S::zero() : S::load(b + i);
      M::store_any(out, out_dtype, i, function(S::load(a + i), y));
    }
    if (i < n) {
      const F x = M::load_tail(a, DType::kF32, i, n - i);
      const F y = b == nullptr ? S::zero() : M::load_tail(b, DType::kF32, i, n - i);
      M::store_tail(out, out_dtype, i, n - i, function(x, y));
    }
  }

  template <Activation kActivation>
  static void activate_as(const float* x, const float* up, int64_t n, DType out_dtype, void* out) {
    if (up == nullptr) {
      map(x, nullptr, n, out_dtype, out, [](F v, F) { return apply<kActivation>(v); });
    } else {
      map(x, up, n, out_dtype, out, [](F v, F u) { return S::mul(apply<kActivation>(v), u); });
    }
  }

  static void activate(const float* x, const float* up, Activation activation, int64_t n,
                       DType out_dtype, void* out) {
    switch (activation) {
      case Activation::kGelu:
        return activate_as<Activation::kGelu>(x, up, n, out_dtype, out);
      case Activation::kGeluTanh:
        return activate_as<Activation::kGeluTanh>(x, up, n, out_dtype, out);
      default:
        return activate_as<Activation::kSilu>(x, up, n, out_dtype, out);
    }
  }

  static void clamped_swiglu(const float* gate, const float* up, float alpha, float limit,
                             int64_t n, DType out_dtype, void* out) {
    const F one = S::set1(1.0f);
    const F highest = S::set1(limit);
    const F lowest = S::set1(-limit);
    const F minus_alpha = S::set1(-alpha);
    map(gate, up, n, out_dtype, out, [&](F g, F u) {
      const F clamped = S::min(g, highest);
      const F linear = S::add(S::max(S::min(u, highest), lowest), one);
      const F glu = S::div(clamped, S::add(one, M::exp(S::mul(clamped, minus_alpha))));
      return S::mul(linear, glu);
    });
  }

  static void sigmoid(const float* x, int64_t n, float* out) {
    const F one = S::set1(1.0f);
    map(x, nullptr, n, DType::kF32, out,
        [one](F v, F) { return S::div(one, S::add(one, M::exp(S::sub(S::zero(), v)))); });
  }

  // out = e^(x - offset).
  static void exp_minus(const float* x, float offset, int64_t n, float* out) {
    const F o = S::set1(offset);
    map(x, nullptr, n, DType::kF32, out, [o](F v, F) { return M::exp(S::sub(v, o)); });
  }

  static void softcap(float* x, float cap, int64_t n) {
    const F c = S::set1(cap);
    map(x, nullptr, n, DType::kF32, x, [c](F v, F) { return S::mul(c, M::tanh(S::div(v, c))); });
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
