#include "kernels/low_bit.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/quant/number_formats.h"

namespace trireme::kernels {
namespace {

constexpr uint8_t kMostZero = 16;  // GPTQ's zero points run from 1 to 16

int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

Error wrong(const std::string& what) { return invalid_argument("a low-bit weight's " + what); }

Status check_matrix(const TensorView& view, DType dtype, int64_t rows, int64_t columns,
                    const char* name) {
  const bool fits = view.defined() && view.rank == 2 && view.dtype == dtype &&
                    view.shape[0] == rows && view.shape[1] == columns && view.contiguous();
  if (fits) return {};
  return wrong(std::string(name) + " must be a dense " + std::string(to_string(dtype)) +
               " matrix of [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
}

Status check_order(const TensorView& order, int64_t in) {
  if (!order.defined()) return {};
  if (order.rank != 1 || order.dtype != DType::kI32 || order.dim(0) != in) {
    return wrong("input order must be an i32 vector of its " + std::to_string(in) + " inputs");
  }
  std::vector<bool> seen(static_cast<size_t>(in), false);
  for (int64_t j = 0; j < in; ++j) {
    const int64_t input = order.as<int32_t>()[j];
    if (input < 0 || input >= in || seen[static_cast<size_t>(input)]) {
      return wrong("input order is no permutation: " + std::to_string(input) + " at " +
                   std::to_string(j));
    }
    seen[static_cast<size_t>(input)] = true;
  }
  return {};
}

// 0x7f and 0xff stand for no number.
bool has_nan_code(const uint8_t* codes, int64_t n) {
  bool found = false;
  for (int64_t i = 0; i < n; ++i) found |= (codes[i] & 0x7fu) == 0x7fu;
  return found;
}

Status check_zeros(const LowBitMatrix& m, int64_t out, int64_t n_groups) {
  if (!m.zeros.defined()) return {};
  if (m.code != LowBitCode::kInt4) return wrong("zero points are for int4 alone");
  TRY(check_matrix(m.zeros, DType::kU8, out, n_groups, "zero points"));
  const auto* zeros = m.zeros.as<uint8_t>();
  if (std::any_of(zeros, zeros + out * n_groups, [](uint8_t z) { return z > kMostZero; })) {
    return wrong("zero points must be at most " + std::to_string(kMostZero));
  }
  return {};
}

Status check_scales(const LowBitMatrix& m, int64_t n) {
  if (m.code == LowBitCode::kE2M1) {
    const auto* scales = m.scales.as<uint8_t>();
    const auto fits = [](uint8_t s) { return s >= kLeastExponent && s <= kMostExponent; };
    if (std::all_of(scales, scales + n, fits)) return {};
    return wrong("scales must be exponents from " + std::to_string(kLeastExponent) + " to " +
                 std::to_string(kMostExponent));
  }
  const auto* scales = m.scales.as<float>();
  if (std::all_of(scales, scales + n, [](float s) { return std::isfinite(s); })) return {};
  return wrong("scales must be finite");
}

// Of the stored input j, without its scale.
float value_of(const LowBitMatrix& m, int64_t output, int64_t j) {
  if (!is_nibbles(m.code)) {
    const uint8_t code = m.codes.row<uint8_t>(output)[j];
    return m.code == LowBitCode::kE4M3 ? quant::e4m3_to_f32(code)
                                       : static_cast<float>(static_cast<int8_t>(code));
  }
  const auto word = static_cast<uint32_t>(m.codes.row<int32_t>(output)[j / kNibblesPerWord]);
  const int nibble = nibble_of(word, j);
  if (m.code == LowBitCode::kE2M1) return quant::e2m1_to_f32(static_cast<uint32_t>(nibble));
  const int zero = m.zeros.defined() ? m.zeros.row<uint8_t>(output)[j / m.group_size] : kInt4Middle;
  return static_cast<float>(nibble - zero);
}

}  // namespace

std::string_view to_string(LowBitCode code) {
  switch (code) {
    case LowBitCode::kE4M3:
      return "e4m3";
    case LowBitCode::kInt4:
      return "int4";
    case LowBitCode::kInt8:
      return "int8";
    case LowBitCode::kE2M1:
      return "e2m1";
  }
  return "?";
}

Status check_low_bit(const LowBitMatrix& m) {
  if (m.in_features < 1 || !m.codes.defined() || m.codes.rank != 2 || m.codes.shape[0] < 1) {
    return wrong("codes must be a matrix that is not empty");
  }
  const int64_t out = m.codes.shape[0];
  const int64_t in = m.in_features;
  if (m.group_size < 1 || (m.group_size < in && m.group_size % low_bit_group_unit(m.code) != 0)) {
    return wrong("groups of " + std::to_string(m.group_size) +
                 " inputs are neither whole rows nor " + "multiples of " +
                 std::to_string(low_bit_group_unit(m.code)));
  }
  if (m.code == LowBitCode::kE2M1 && m.group_size != kE2M1Group) {
    return wrong("groups of e2m1 must be of " + std::to_string(kE2M1Group) + " inputs");
  }
  const int64_t n_groups = ceil_div(in, m.group_size);
  TRY(check_matrix(m.codes, low_bit_codes_dtype(m.code), out, low_bit_columns(m.code, in),
                   "codes"));
  TRY(check_matrix(m.scales, low_bit_scales_dtype(m.code), out, n_groups, "scales"));
  TRY(check_zeros(m, out, n_groups));
  TRY(check_scales(m, out * n_groups));
  if (m.code == LowBitCode::kE4M3 && has_nan_code(m.codes.as<uint8_t>(), out * in)) {
    return wrong("codes hold one that is not a number");
  }
  return check_order(m.input_order, in);
}

void expand_low_bit_row(const LowBitMatrix& m, int64_t output, float* weights) {
  const int32_t* order = m.input_order.defined() ? m.input_order.as<int32_t>() : nullptr;
  for (int64_t j = 0; j < m.in_features; ++j) {
    const int64_t group = j / m.group_size;
    const float scale = m.code == LowBitCode::kE2M1
                            ? quant::e8m0_to_f32(m.scales.row<uint8_t>(output)[group])
                            : m.scales.row<float>(output)[group];
    weights[order == nullptr ? j : order[j]] = value_of(m, output, j) * scale;
  }
}

}  // namespace trireme::kernels
