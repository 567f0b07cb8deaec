// The part of ShardLoader that keeps codes as they are.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/weights/safetensors.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {
namespace {

using kernels::LowBitCode;
using kernels::LowBitMatrix;
using kernels::PackedWeight;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The inputs of a part, in its matrix.
plan::Range inputs_of(const WeightPart& part, const LowBitForm& form) {
  if (!form.transposed) return part.slice.columns;
  const int64_t begin = part.slice.rows.begin % form.in_features;
  return {begin, begin + part.slice.rows.size()};
}

// Why a part of a tensor cannot stay codes beside `first`, the form of the stack's first part;
// empty where it can.
std::string why_not(const WeightPart& part, const LowBitForm* form, const LowBitForm* first) {
  if (form == nullptr || first == nullptr) return "its parts are not all stored as such codes";
  if (part.transposed != form->transposed) return "it is stored in another order";
  if (form->code != first->code || form->group_size != first->group_size ||
      form->has_zeros != first->has_zeros || form->input_order != first->input_order) {
    return "its parts have other groups of inputs";
  }
  const plan::Range inputs = inputs_of(part, *form);
  if (inputs.begin == 0 && inputs.end == form->in_features) return {};
  if (inputs.end > form->in_features) return "it is cut across its matrices";
  if (!form->input_order.empty()) {
    return "its groups are not of neighbouring inputs, and its inputs are cut";
  }
  if (form->group_size == form->in_features) return {};
  const bool fits = inputs.begin % form->group_size == 0 &&
                    (inputs.end % form->group_size == 0 || inputs.end == form->in_features);
  if (fits) return {};
  return fmt::format("inputs {} to {} are not whole groups of {}", inputs.begin, inputs.end,
                     form->group_size);
}

// Rows of `bytes`, the even ones before the odd ones.
void deinterleave_rows(int64_t n_rows, size_t bytes, void* rows, std::vector<char>* spare) {
  const auto* from = static_cast<const char*>(rows);
  spare->assign(from, from + static_cast<size_t>(n_rows) * bytes);
  for (int64_t i = 0; i < n_rows; ++i) {
    std::memcpy(
        static_cast<char*>(rows) + static_cast<size_t>(deinterleaved_row(i, n_rows)) * bytes,
        spare->data() + static_cast<size_t>(i) * bytes, bytes);
  }
}

// A stack of parts on the host.
struct HostMatrix {
  HostMatrix(const LowBitForm& form, int64_t rows, int64_t in, uint8_t* code_memory)
      : n_rows(rows), codes(code_memory) {
    matrix.code = form.code;
    matrix.in_features = in;
    matrix.group_size = form.group_size == form.in_features && !is_e2m1() ? in : form.group_size;
    n_groups = ceil_div(in, matrix.group_size);
    row_codes = kernels::low_bit_columns(form.code, in);
    code_bytes = static_cast<size_t>(row_codes) * size_of(kernels::low_bit_codes_dtype(form.code));
    scale_bytes = static_cast<size_t>(n_groups) * size_of(kernels::low_bit_scales_dtype(form.code));
    // Rows of padding have codes of zero, and a scale of zero or one.
    scales.assign(static_cast<size_t>(rows) * scale_bytes,
                  is_e2m1() ? static_cast<char>(kernels::kExponentOfOne) : char{0});
    if (form.has_zeros) {
      zeros.assign(static_cast<size_t>(rows * n_groups), kernels::kInt4Middle);
    }
    order = form.input_order;
  }
  bool is_e2m1() const { return matrix.code == LowBitCode::kE2M1; }

  LowBitRows rows_from(int64_t row) {
    const auto at = static_cast<size_t>(row);
    return {.codes = codes + at * code_bytes,
            .scales = scales.data() + at * scale_bytes,
            .zeros = zeros.empty() ? nullptr : zeros.data() + row * n_groups};
  }

  const LowBitMatrix& view() {
    matrix.codes =
        TensorView(codes, kernels::low_bit_codes_dtype(matrix.code), {n_rows, row_codes});
    matrix.scales =
        TensorView(scales.data(), kernels::low_bit_scales_dtype(matrix.code), {n_rows, n_groups});
    if (!zeros.empty()) matrix.zeros = TensorView(zeros.data(), DType::kU8, {n_rows, n_groups});
    if (!order.empty()) {
      matrix.input_order = TensorView(order.data(), DType::kI32, {matrix.in_features});
    }
    return matrix;
  }

  LowBitMatrix matrix;
  int64_t n_rows;
  int64_t n_groups = 0;
  int64_t row_codes = 0;
  size_t code_bytes = 0;   // of a row
  size_t scale_bytes = 0;  // of a row
  uint8_t* codes;
  std::vector<char> scales;
  std::vector<uint8_t> zeros;
  std::vector<int32_t> order;
};

}  // namespace

const LowBitForm* ShardLoader::low_bit_form(const WeightPart& part) const {
  plan::TensorSlice slice = part.slice;
  slice.name = stored_name(slice.name);
  return source_->low_bit_form(slice);
}

bool ShardLoader::stays_low_bit(const std::vector<WeightPart>& parts) {
  if (quantized_ == QuantizedWeights::kExpand) return false;
  const bool could = std::any_of(parts.begin(), parts.end(), [&](const WeightPart& part) {
    return low_bit_form(part) != nullptr;
  });
  if (!could) return false;
  for (const WeightPart& part : parts) {
    const std::string why = why_not(part, low_bit_form(part), low_bit_form(parts.front()));
    if (why.empty()) continue;
    note_expanded(part, why);
    return false;
  }
  ++n_low_bit_;
  return true;
}

Result<std::unique_ptr<PackedWeight>> ShardLoader::pack_low_bit(
    const std::vector<WeightPart>& parts, int64_t min_rows) {
  const LowBitForm& form = *low_bit_form(parts.front());
  const int64_t in = parts.front().n_columns();
  int64_t n_rows = 0;
  for (const WeightPart& part : parts) n_rows += part.n_rows();
  const int64_t n_padded = std::max(n_rows, min_rows);
  const size_t row_bytes = static_cast<size_t>(kernels::low_bit_columns(form.code, in)) *
                           size_of(kernels::low_bit_codes_dtype(form.code));
  host_.resize(std::max(host_.size(), static_cast<size_t>(n_padded) * row_bytes));
  HostMatrix host(form, n_padded, in, reinterpret_cast<uint8_t*>(host_.data()));
  std::memset(host.rows_from(n_rows).codes, 0, static_cast<size_t>(n_padded - n_rows) * row_bytes);
  int64_t row = 0;
  for (const WeightPart& part : parts) {
    CHECK_EQ(in, part.n_columns()) << part.slice.name;
    plan::TensorSlice slice = part.slice;
    slice.name = stored_name(slice.name);
    const LowBitRows to = host.rows_from(row);
    TRY(source_->read_low_bit(slice, to));
    if (part.interleaved) {
      deinterleave_rows(part.n_rows(), host.code_bytes, to.codes, &turn_);
      deinterleave_rows(part.n_rows(), host.scale_bytes, to.scales, &turn_);
      if (to.zeros != nullptr) {
        deinterleave_rows(part.n_rows(), static_cast<size_t>(host.n_groups), to.zeros, &turn_);
      }
    }
    row += part.n_rows();
  }
  for (const WeightPart& part : parts) progress(part_bytes(part));
  return named_by(parts.front(), backend_->pack_low_bit(host.view()));
}

// As codes, or expanded where what they are leaves the range that a kernel takes.
Result<std::unique_ptr<PackedWeight>> ShardLoader::pack_low_bit_or_expand(
    const std::vector<WeightPart>& parts, int64_t min_rows) {
  auto weight = pack_low_bit(parts, min_rows);
  if (weight.ok() || weight.error().code != ErrorCode::kUnimplemented) return weight;
  --n_low_bit_;
  note_expanded(parts.front(), weight.error().message);
  return pack(parts, min_rows);
}

void ShardLoader::note_expanded(const WeightPart& part, const std::string& why) {
  ++n_expanded_;
  if (!why_expanded_.empty()) return;
  why_expanded_ = fmt::format("tensor {}: {}", in_quotes(part.slice.name), why);
}

std::string ShardLoader::low_bit_note() const {
  if (n_low_bit_ + n_expanded_ == 0) return {};
  std::string note = n_low_bit_ == 1
                         ? "1 quantised matrix stays low-bit"
                         : fmt::format("{} quantised matrices stay low-bit", n_low_bit_);
  if (n_expanded_ > 0) {
    note += fmt::format(", {} {} expanded; the first: {}", n_expanded_,
                        n_expanded_ == 1 ? "is" : "are", why_expanded_);
  }
  return note;
}

}  // namespace trireme::worker
