// LowBitMatrix: a weight of quantised codes with their scales, on the host, as `pack_low_bit`
// (backend.h) takes it.
//
// One layout that every storage form is brought to when it is loaded: scales (and zero points) per
// output and group of consecutive inputs. A scale of a whole tensor, an output channel or a block
// of outputs is repeated for each output that it covers, so that outputs may be stacked and cut
// anywhere. The weight that input j of output o stands for is exactly, in f32,
//   kE4M3: e4m3(code) * scale        kInt4: (code - zero) * scale
// Views only; pure functions; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "kernels/tensor.h"

namespace trireme::kernels {

enum class LowBitCode : uint8_t { kE4M3, kInt4 };

std::string_view to_string(LowBitCode code);

// Inputs of a word of kInt4: nibble k of it is input (0, 2, 4, 6, 1, 3, 5, 7)[k], so that one mask
// cuts out a pair of neighbours, one in each half of the word.
inline constexpr int64_t kInt4PerWord = 8;
// A zero point in the middle of the codes: what a matrix without zero points has everywhere.
inline constexpr int kInt4Middle = 8;

constexpr int int4_shift(int64_t input) {
  const auto in_word = static_cast<int>(input % kInt4PerWord);
  return in_word % 2 * 16 + in_word / 2 * 4;
}
constexpr int int4_of(uint32_t word, int64_t input) {
  return static_cast<int>(word >> int4_shift(input) & 0xfu);
}

// Groups that are not a whole row begin at a multiple of this many inputs.
constexpr int64_t low_bit_group_unit(LowBitCode code) {
  return code == LowBitCode::kE4M3 ? 64 : 32;
}

struct LowBitMatrix {
  LowBitCode code = LowBitCode::kE4M3;
  int64_t in_features = 0;
  TensorView codes;  // kE4M3: [out, in] u8; kInt4: [out, ceil(in / 8)] i32, dense
  // Inputs that share a scale: in_features or more, or a multiple of low_bit_group_unit.
  int64_t group_size = 0;
  TensorView scales;  // [out, ceil(in / group_size)] f32, dense
  TensorView zeros;   // the same shape in u8, at most 16, dense; or undefined: kInt4Middle
  // [in] i32, a permutation, or undefined: the stored input j is input input_order[j] of the layer
  // (weights whose groups are not of consecutive inputs).
  TensorView input_order;

  int64_t out_features() const { return codes.dim(0); }
  int64_t n_groups() const { return scales.dim(1); }
};

// Codes, scales and zero points of `in` inputs and one output, and of the input order.
int64_t low_bit_row_bytes(LowBitCode code, int64_t in, int64_t group_size, bool has_zeros);

// invalid_argument when shapes, types, zero points or the order are not as above, or when a code or
// scale is not a number.
Status check_low_bit(const LowBitMatrix& matrix);

// The in_features weights of an output, by the layer's inputs.
void expand_low_bit_row(const LowBitMatrix& matrix, int64_t output, float* weights);

}  // namespace trireme::kernels
