// The vector type of the portable file: four lanes in the compiler's own vector extension, for any
// processor. Only isa_portable.cc may include this.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/dtype.h"

namespace trireme::kernels::cpu {
namespace {

struct Simd {
  using F = float __attribute__((vector_size(16)));
  using I = uint32_t __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;
  static constexpr int kAccumulators = 8;  // of 16 registers, products need some
  static constexpr int kTileRows = 4;

  static F zero() { return F{0, 0, 0, 0}; }
  static F set1(float x) { return F{x, x, x, x}; }
  static I set1_bits(uint32_t x) { return I{x, x, x, x}; }
  static F load(const float* p) {
    F x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  }
  static I load_bits(const uint32_t* p) {
    I x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  }
  // One to a lane.
  static I load_bytes(const uint8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static void store(float* p, F x) { std::memcpy(p, &x, sizeof(x)); }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F max(F a, F b) { return a > b ? a : b; }
  // Two roundings: this file is compiled without contraction, so that every use rounds alike.
  static F fma(F a, F b, F c) { return a * b + c; }
  // c - a * b
  static F fnma(F a, F b, F c) { return c - a * b; }
  static I bits(F x) { return reinterpret_cast<I>(x); }
  static F from_bits(I x) { return reinterpret_cast<F>(x); }
  static I add_bits(I a, I b) { return a + b; }
  static I and_bits(I a, I b) { return a & b; }
  template <int kCount>
  static I shift_left(I x) {
    return x << kCount;
  }
  template <int kCount>
  static I shift_right(I x) {
    return x >> kCount;
  }
  // x where a >= b, zero elsewhere.
  static F zero_unless_ge(F a, F b, F x) { return a >= b ? x : zero(); }
  // Lanes from n on become `other`.
  static F keep_first(F x, int64_t n, F other) {
    for (int64_t i = n < 0 ? 0 : n; i < kWidth; ++i) x[i] = other[i];
    return x;
  }
  // Lanes 2i and 2i + 1 change places.
  static F swap_pairs(F x) { return F{x[1], x[0], x[3], x[2]}; }
  static float reduce_add(F x) { return (x[0] + x[2]) + (x[1] + x[3]); }
  static float reduce_max(F x) {
    const float a = x[0] > x[1] ? x[0] : x[1];
    const float b = x[2] > x[3] ? x[2] : x[3];
    return a > b ? a : b;
  }

  static F load_bf16(const uint16_t* p) { return from_bits(I{p[0], p[1], p[2], p[3]} << 16); }
  static F load_f16(const uint16_t* p) {
    return F{to_f32(f16{p[0]}), to_f32(f16{p[1]}), to_f32(f16{p[2]}), to_f32(f16{p[3]})};
  }
  static F load_e4m3(const uint8_t* p) {
    const I codes = {p[0], p[1], p[2], p[3]};
    // Below 2^-6 there is no leading one: what it added, 2^-7 more than the rest, is taken back.
    const F one = from_bits(((codes & 0x7fu) << 20) + (120u << 23));
    const F absolute = one + min(one - set1(0x1p-6f), zero());
    return from_bits(bits(absolute) | (codes & 0x80u) << 24);
  }
  // The lowest byte of each lane.
  static void store_bytes(uint8_t* p, I x) {
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<uint8_t>(x[i]);
  }
  static void store_bf16(uint16_t* p, F x) {
    for (int i = 0; i < kWidth; ++i) p[i] = to_bf16(x[i]).bits;
  }
  static void store_f16(uint16_t* p, F x) {
    for (int i = 0; i < kWidth; ++i) p[i] = to_f16(x[i]).bits;
  }

  static void transpose(F v[4]) {
    F t[4];
    for (int i = 0; i < 4; ++i) t[i] = F{v[0][i], v[1][i], v[2][i], v[3][i]};
    for (int i = 0; i < 4; ++i) v[i] = t[i];
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
