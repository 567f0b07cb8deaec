// Small numbers as quantised checkpoints store them, each turned into the f32 that it is exactly.
//
// Pure constexpr functions on raw bits, free of tables in memory, so that host code and a kernel
// (nvcc --expt-relaxed-constexpr) share one definition.
// Sources: OCP 8-bit Floating Point Specification 1.0 (E4M3); OCP Microscaling Formats 1.0 (E2M1,
// E8M0); IEEE 754 binary16.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace trireme::kernels::quant {

// Little-endian, whatever the alignment.
constexpr uint32_t load_u16(const uint8_t* bytes) {
  return uint32_t{bytes[0]} | uint32_t{bytes[1]} << 8;
}
constexpr uint32_t load_u32(const uint8_t* bytes) {
  return load_u16(bytes) | load_u16(bytes + 2) << 16;
}

// 2^exponent for exponent in [-149, 127].
constexpr float power_of_two(int exponent) {
  if (exponent < -126) return std::bit_cast<float>(uint32_t{1} << (exponent + 149));
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

// IEEE binary16.
constexpr float f16_to_f32(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign == 0 ? magnitude : -magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}
constexpr float load_f16(const uint8_t* bytes) { return f16_to_f32(load_u16(bytes)); }
constexpr float load_bf16(const uint8_t* bytes) {
  return std::bit_cast<float>(load_u16(bytes) << 16);
}
constexpr float load_f32(const uint8_t* bytes) { return std::bit_cast<float>(load_u32(bytes)); }

// 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinities, 0x7f and 0xff are NaN; max 448.
constexpr float e4m3_to_f32(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fu;
  const uint32_t exponent = magnitude >> 3;
  const uint32_t mantissa = magnitude & 7u;
  float value = 0;
  if (magnitude == 0x7f) {
    value = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    value = static_cast<float>(mantissa) * 0x1p-9f;
  } else {
    value = std::bit_cast<float>((exponent + 120) << 23 | mantissa << 20);
  }
  return (bits & 0x80u) == 0 ? value : -value;
}

// Round to nearest, ties to even. Every result is a number: beyond 448 it is 448, and so is that of
// a NaN.
constexpr uint8_t e4m3_from_f32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 24 & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);
  if (magnitude < 0x3c800000u) {
    // Below 2^-6 codes are 2^-9 apart. Adding 2^14 puts that into the last place of the f32 sum, so
    // that the adder rounds for us.
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000u));
  }
  const uint32_t rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

// 1 sign, 2 exponent (bias 1), 1 mantissa bit: +-{0, 0.5, 1, 1.5, 2, 3, 4, 6}. Bits above 3 are
// ignored.
constexpr float e2m1_to_f32(uint32_t bits) {
  const uint32_t exponent = (bits >> 1) & 3u;
  const float mantissa = static_cast<float>(bits & 1u);
  const float value = exponent == 0
                          ? 0.5f * mantissa
                          : (1.0f + 0.5f * mantissa) * power_of_two(static_cast<int>(exponent) - 1);
  return (bits & 8u) == 0 ? value : -value;
}

// A power of two alone: 2^(bits - 127); 0xff is NaN.
constexpr float e8m0_to_f32(uint8_t bits) {
  if (bits == 0xff) return std::numeric_limits<float>::quiet_NaN();
  return power_of_two(int{bits} - 127);
}

}  // namespace trireme::kernels::quant
