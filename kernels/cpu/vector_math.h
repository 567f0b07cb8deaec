// Vector helpers over an instruction set's Simd type: partial loads, conversions, exp. Templates on
// a type of internal linkage, so that each file that includes this has its own copy.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/dtype.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct VectorMath {
  using F = typename S::F;

  // A whole vector of any floating point dtype.
  static F load_any(const void* p, DType dtype, int64_t i) {
    if (dtype == DType::kF32) return S::load(static_cast<const float*>(p) + i);
    const uint16_t* halves = static_cast<const uint16_t*>(p) + i;
    return dtype == DType::kBF16 ? S::load_bf16(halves) : S::load_f16(halves);
  }

  static void store_any(void* p, DType dtype, int64_t i, F x) {
    if (dtype == DType::kF32) {
      S::store(static_cast<float*>(p) + i, x);
      return;
    }
    uint16_t* halves = static_cast<uint16_t*>(p) + i;
    if (dtype == DType::kBF16) {
      S::store_bf16(halves, x);
    } else {
      S::store_f16(halves, x);
    }
  }

  // The last n < kWidth elements from i on; the other lanes are zeros.
  static F load_tail(const void* p, DType dtype, int64_t i, int64_t n) {
    alignas(64) unsigned char padded[S::kWidth * 4] = {};
    const int64_t size = dtype == DType::kF32 ? 4 : 2;
    std::memcpy(padded, static_cast<const char*>(p) + i * size, static_cast<size_t>(n * size));
    return load_any(padded, dtype, 0);
  }

  static void store_tail(void* p, DType dtype, int64_t i, int64_t n, F x) {
    alignas(64) unsigned char padded[S::kWidth * 4];
    store_any(padded, dtype, 0, x);
    const int64_t size = dtype == DType::kF32 ? 4 : 2;
    std::memcpy(static_cast<char*>(p) + i * size, padded, static_cast<size_t>(n * size));
  }

  // e^x, within 1.5e-7 of it relatively; 0 below -87.3, and e^88 above 88.
  // x = n ln2 + r with |r| <= ln2 / 2; the Taylor series of degree 7 leaves 5e-9.
  static F exp(F x) {
    const F lowest = S::set1(-87.3f);
    const F clamped = S::min(S::max(x, lowest), S::set1(88.0f));
    // Adding 1.5 * 2^23 leaves round(x / ln2) in the low bits.
    const F magic = S::set1(12582912.0f);
    const F shifted = S::fma(clamped, S::set1(1.44269504088896341f), magic);
    const F n = S::sub(shifted, magic);
    F r = S::fnma(n, S::set1(0.693359375f), clamped);  // 9 bits: n times this is exact
    r = S::fnma(n, S::set1(-2.12194440054690583e-4f), r);
    F p = S::set1(1.0f / 5040);
    p = S::fma(p, r, S::set1(1.0f / 720));
    p = S::fma(p, r, S::set1(1.0f / 120));
    p = S::fma(p, r, S::set1(1.0f / 24));
    p = S::fma(p, r, S::set1(1.0f / 6));
    p = S::fma(p, r, S::set1(0.5f));
    p = S::fma(p, r, S::set1(1.0f));
    p = S::fma(p, r, S::set1(1.0f));
    const auto biased = S::add_bits(S::bits(shifted), S::set1_bits(127u - 0x4b400000u));
    const F power = S::from_bits(S::template shift_left<23>(biased));
    return S::zero_unless_ge(x, lowest, S::mul(p, power));
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
