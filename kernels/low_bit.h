// LowBitMatrix: a weight of quantised codes with their scales, on the host, as `pack_low_bit`
// (backend.h) takes it.
//
// One layout that every storage form is brought to when it is loaded: scales (and zero points) per
// output and group of consecutive inputs. A scale of a whole tensor, an output channel or a block
// of outputs is repeated for each output that it covers, so that outputs may be stacked and cut
// anywhere. The weight that input j of output o stands for is exactly, in f32,
//   kE4M3: e4m3(code) * scale        kInt4: (code - zero) * scale
//   kInt8: code * scale              kE2M1: e2m1(code) * 2^(scale - 127)
// kE2M1 with its scales are the microscaling format MXFP4, whose weights all are bf16 numbers.
// Source: OCP Microscaling Formats (MX) 1.0, sec. 5.
// Views only; pure functions; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "kernels/tensor.h"

namespace trireme::kernels {

enum class LowBitCode : uint8_t { kE4M3, kInt4, kInt8, kE2M1 };

std::string_view to_string(LowBitCode code);

// Codes of four bits lie in words of eight: nibble k is input (0, 2, 4, 6, 1, 3, 5, 7)[k], so that
// one mask cuts out a pair of neighbours, one in each half of the word.
constexpr bool is_nibbles(LowBitCode code) {
  return code == LowBitCode::kInt4 || code == LowBitCode::kE2M1;
}
inline constexpr int64_t kNibblesPerWord = 8;
// A zero point in the middle of the codes: what a matrix without zero points has everywhere.
inline constexpr int kInt4Middle = 8;

// Inputs that share a scale of kE2M1.
inline constexpr int64_t kE2M1Group = 32;
// Scales of kE2M1 from which all weights are bf16 numbers, neither subnormal nor infinite. Rows of
// padding have the one of 1.
inline constexpr uint8_t kLeastExponent = 2;
inline constexpr uint8_t kMostExponent = 252;
inline constexpr uint8_t kExponentOfOne = 127;

constexpr int nibble_shift(int64_t input) {
  const auto in_word = static_cast<int>(input % kNibblesPerWord);
  return in_word % 2 * 16 + in_word / 2 * 4;
}
constexpr int nibble_of(uint32_t word, int64_t input) {
  return static_cast<int>(word >> nibble_shift(input) & 0xfu);
}

// Groups that are not a whole row begin at a multiple of this many inputs.
constexpr int64_t low_bit_group_unit(LowBitCode code) { return is_nibbles(code) ? 32 : 64; }

// Columns of the codes of `in` inputs, and their type.
constexpr int64_t low_bit_columns(LowBitCode code, int64_t in) {
  return is_nibbles(code) ? (in + kNibblesPerWord - 1) / kNibblesPerWord : in;
}
constexpr DType low_bit_codes_dtype(LowBitCode code) {
  return is_nibbles(code) ? DType::kI32 : DType::kU8;
}
constexpr DType low_bit_scales_dtype(LowBitCode code) {
  return code == LowBitCode::kE2M1 ? DType::kU8 : DType::kF32;
}

struct LowBitMatrix {
  LowBitCode code = LowBitCode::kE4M3;
  int64_t in_features = 0;
  TensorView codes;  // [out, in] u8 (of kInt8 two's complements), or nibbles: [out, ceil(in / 8)]
                     // i32; dense
  // Inputs that share a scale: in_features or more, or a multiple of low_bit_group_unit; of kE2M1
  // kE2M1Group.
  int64_t group_size = 0;
  // [out, ceil(in / group_size)] f32, dense; of kE2M1 u8, kLeastExponent to kMostExponent.
  TensorView scales;
  // kInt4 alone: the same shape in u8, at most 16, dense; or undefined: kInt4Middle.
  TensorView zeros;
  // [in] i32, a permutation, or undefined: the stored input j is input input_order[j] of the layer
  // (weights whose groups are not of consecutive inputs).
  TensorView input_order;

  int64_t out_features() const { return codes.dim(0); }
  int64_t n_groups() const { return scales.dim(1); }
};

// Codes, scales and zero points of `in` inputs and one output, and of the input order.
constexpr int64_t low_bit_row_bytes(LowBitCode code, int64_t in, int64_t group_size,
                                    bool has_zeros) {
  const auto code_bytes = static_cast<int64_t>(size_of(low_bit_codes_dtype(code)));
  const auto scale_bytes = static_cast<int64_t>(size_of(low_bit_scales_dtype(code)));
  const int64_t n_groups = (in + group_size - 1) / group_size;
  return low_bit_columns(code, in) * code_bytes +
         n_groups * (has_zeros ? scale_bytes + 1 : scale_bytes);
}

// invalid_argument when shapes, types, zero points or the order are not as above, or when a code or
// scale is not a number.
Status check_low_bit(const LowBitMatrix& matrix);

// The in_features weights of an output, by the layer's inputs.
void expand_low_bit_row(const LowBitMatrix& matrix, int64_t output, float* weights);

}  // namespace trireme::kernels
