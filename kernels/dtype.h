// Element types of tensors: names, sizes, and conversions of one value.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string_view>

#include "kernels/quant/number_formats.h"

namespace trireme {

enum class DType : uint8_t { kF32, kF16, kBF16, kI32, kI64, kI8, kU8, kE4M3 };

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kE4M3:
      return 1;
  }
  return 0;
}

constexpr std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
    case DType::kI8:
      return "i8";
    case DType::kU8:
      return "u8";
    case DType::kE4M3:
      return "e4m3";
  }
  return "?";
}

inline std::ostream& operator<<(std::ostream& os, DType dtype) { return os << to_string(dtype); }

// Brain floating point: the upper half of an f32. Storage only; arithmetic is in f32.
struct bf16 {
  uint16_t bits = 0;
};
// IEEE binary16. Storage only.
struct f16 {
  uint16_t bits = 0;
};
// The OCP's 8 bits with 3 of mantissa, at most 448 (number_formats.h). Storage only.
struct e4m3 {
  uint8_t bits = 0;
};

inline float to_f32(bf16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

inline float to_f32(f16 value) {
  const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1fu;
  const uint32_t mantissa = value.bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

inline float to_f32(e4m3 value) { return kernels::quant::e4m3_to_f32(value.bits); }

// Round to nearest, ties to even; overflow and NaN become 448.
inline e4m3 to_e4m3(float value) { return {kernels::quant::e4m3_from_f32(value)}; }

// Round to nearest, ties to even; overflow becomes infinity.
f16 to_f16(float value);

}  // namespace trireme
