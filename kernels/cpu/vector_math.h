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

  static constexpr int64_t bytes_of(DType dtype) {
    return dtype == DType::kF32 ? 4 : (dtype == DType::kE4M3 ? 1 : 2);
  }

  // A whole vector of any floating point dtype.
  static F load_any(const void* p, DType dtype, int64_t i) {
    if (dtype == DType::kF32) return S::load(static_cast<const float*>(p) + i);
    if (dtype == DType::kE4M3) return S::load_e4m3(static_cast<const uint8_t*>(p) + i);
    const uint16_t* halves = static_cast<const uint16_t*>(p) + i;
    return dtype == DType::kBF16 ? S::load_bf16(halves) : S::load_f16(halves);
  }

  static void store_any(void* p, DType dtype, int64_t i, F x) {
    if (dtype == DType::kF32) {
      S::store(static_cast<float*>(p) + i, x);
      return;
    }
    if (dtype == DType::kE4M3) {
      S::store_bytes(static_cast<uint8_t*>(p) + i, e4m3_codes(x));
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
    const int64_t size = bytes_of(dtype);
    std::memcpy(padded, static_cast<const char*>(p) + i * size, static_cast<size_t>(n * size));
    return load_any(padded, dtype, 0);
  }

  static void store_tail(void* p, DType dtype, int64_t i, int64_t n, F x) {
    alignas(64) unsigned char padded[S::kWidth * 4];
    store_any(padded, dtype, 0, x);
    const int64_t size = bytes_of(dtype);
    std::memcpy(static_cast<char*>(p) + i * size, padded, static_cast<size_t>(n * size));
  }

  // The code of each lane, as quant::e4m3_from_f32 has it.
  static typename S::I e4m3_codes(F x) {
    const auto sign = S::and_bits(S::template shift_right<24>(S::bits(x)), S::set1_bits(0x80u));
    const F absolute = S::from_bits(S::and_bits(S::bits(x), S::set1_bits(0x7fffffffu)));
    const F magnitude = S::min(absolute, S::set1(448.0f));  // of a NaN too
    const auto bits = S::bits(magnitude);
    const auto odd = S::and_bits(S::template shift_right<20>(bits), S::set1_bits(1));
    const auto rounded = S::add_bits(S::add_bits(bits, S::set1_bits(0x7ffffu)), odd);
    const auto normal = S::add_bits(S::template shift_right<20>(rounded), S::set1_bits(0u - 960u));
    // Below 2^-6 codes are 2^-9 apart, which is the last place of 2^14.
    const auto small =
        S::add_bits(S::bits(S::add(magnitude, S::set1(0x1p14f))), S::set1_bits(0u - 0x46800000u));
    const F least = S::set1(0x1p-6f);
    const F below = S::from_bits(S::set1_bits(0x3c7fffffu));  // the number before it
    const F code = S::from_bits(
        S::add_bits(S::bits(S::zero_unless_ge(magnitude, least, S::from_bits(normal))),
                    S::bits(S::zero_unless_ge(below, magnitude, S::from_bits(small)))));
    return S::add_bits(S::bits(code), sign);
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

  // tanh(x), within 4e-7 of it relatively. Near zero, where the quotient would lose digits, an odd
  // polynomial, fitted over |x| <= 0.5 to 1.4e-8; elsewhere 1 - 2 / (e^2x + 1).
  static F tanh(F x) {
    const F y = S::min(S::max(x, S::set1(-10.0f)), S::set1(10.0f));
    const F square = S::mul(y, y);
    F p = S::set1(0.017135001718997955f);
    p = S::fma(p, square, S::set1(-0.05298607423901558f));
    p = S::fma(p, square, S::set1(0.13324779272079468f));
    p = S::fma(p, square, S::set1(-0.3333306908607483f));
    const F near = S::fma(S::mul(p, square), y, y);
    const F one = S::set1(1.0f);
    const F far = S::sub(one, S::div(S::set1(2.0f), S::add(exp(S::add(y, y)), one)));
    const F border = S::set1(0.25f);
    return S::add(S::sub(near, S::zero_unless_ge(square, border, near)),
                  S::zero_unless_ge(square, border, far));
  }

  // erfc(x) for x >= 0, within 3e-7 of it relatively while x^2 < 4, then within x^2 * 1e-7.
  // e^(x^2) erfc(x) is t = 1 / (1 + x / 2) times a polynomial of t, fitted over x <= 9.5 to 4.3e-8.
  static F erfc(F x) {
    const F t = S::div(S::set1(1.0f), S::fma(x, S::set1(0.5f), S::set1(1.0f)));
    F p = S::set1(-0.05889091268181801f);
    p = S::fma(p, t, S::set1(0.2837025821208954f));
    p = S::fma(p, t, S::set1(-0.48538491129875183f));
    p = S::fma(p, t, S::set1(0.2759793996810913f));
    p = S::fma(p, t, S::set1(-0.025178441777825356f));
    p = S::fma(p, t, S::set1(0.20207011699676514f));
    p = S::fma(p, t, S::set1(0.2432609498500824f));
    p = S::fma(p, t, S::set1(0.2823534905910492f));
    p = S::fma(p, t, S::set1(0.28208768367767334f));
    return S::mul(S::mul(t, p), exp(S::fnma(x, x, S::zero())));
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
