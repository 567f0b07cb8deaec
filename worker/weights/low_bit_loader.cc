// The part of ShardLoader that keeps codes as they are.
#include <fmt/format.h>

#include <algorithm>

#include "worker/weights/safetensors.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {
namespace {

using kernels::LowBitCode;
using kernels::LowBitMatrix;
using kernels::PackedWeight;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Why a part of a tensor cannot stay codes beside `first`, the form of the stack's first part;
// empty where it can.
std::string why_not(const WeightPart& part, const LowBitForm* form, const LowBitForm* first) {
  if (form == nullptr || first == nullptr) return "its parts are not all stored as such codes";
  if (part.transposed || part.interleaved) return "it is stored in another order";
  if (form->code != first->code || form->group_size != first->group_size ||
      form->has_zeros != first->has_zeros || form->input_order != first->input_order) {
    return "its parts have other groups of inputs";
  }
  const plan::Range columns = part.slice.columns;
  if (columns.begin == 0 && columns.end == form->in_features) return {};
  if (!form->input_order.empty()) {
    return "its groups are not of neighbouring inputs, and its inputs are cut";
  }
  if (form->group_size == form->in_features) return {};
  const bool fits = columns.begin % form->group_size == 0 &&
                    (columns.end % form->group_size == 0 || columns.end == form->in_features);
  if (fits) return {};
  return fmt::format("inputs {} to {} are not whole groups of {}", columns.begin, columns.end,
                     form->group_size);
}

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
    ++n_expanded_;
    if (why_expanded_.empty()) {
      why_expanded_ = fmt::format("tensor {}: {}", in_quotes(part.slice.name), why);
    }
    return false;
  }
  ++n_low_bit_;
  return true;
}

Result<std::unique_ptr<PackedWeight>> ShardLoader::pack_low_bit(
    const std::vector<WeightPart>& parts, int64_t min_rows) {
  const LowBitForm& form = *low_bit_form(parts.front());
  const int64_t in = parts.front().n_columns();
  const int64_t group_size = form.group_size == form.in_features ? in : form.group_size;
  const int64_t n_groups = ceil_div(in, group_size);
  const bool is_int4 = form.code == LowBitCode::kInt4;
  const int64_t row_codes = is_int4 ? ceil_div(in, kernels::kInt4PerWord) : in;
  const int64_t row_bytes = is_int4 ? row_codes * 4 : row_codes;
  int64_t n_rows = 0;
  for (const WeightPart& part : parts) n_rows += part.n_rows();
  const int64_t n_padded = std::max(n_rows, min_rows);

  // Rows of padding have a scale of zero.
  host_.resize(std::max(host_.size(), static_cast<size_t>(n_padded * row_bytes)));
  std::vector<float> scales(static_cast<size_t>(n_padded * n_groups), 0.0f);
  std::vector<uint8_t> zeros(form.has_zeros ? scales.size() : 0, kernels::kInt4Middle);
  auto* codes = reinterpret_cast<uint8_t*>(host_.data());
  std::fill_n(codes + n_rows * row_bytes, (n_padded - n_rows) * row_bytes, uint8_t{0});
  int64_t row = 0;
  for (const WeightPart& part : parts) {
    CHECK_EQ(in, part.n_columns()) << part.slice.name;
    plan::TensorSlice slice = part.slice;
    slice.name = stored_name(slice.name);
    const LowBitRows to = {.codes = codes + row * row_bytes,
                           .scales = scales.data() + row * n_groups,
                           .zeros = form.has_zeros ? zeros.data() + row * n_groups : nullptr};
    TRY(source_->read_low_bit(slice, to));
    row += part.n_rows();
    progress(part_bytes(part));
  }

  LowBitMatrix matrix{.code = form.code, .in_features = in, .group_size = group_size};
  matrix.codes = TensorView(codes, is_int4 ? DType::kI32 : DType::kU8, {n_padded, row_codes});
  matrix.scales = TensorView(scales.data(), DType::kF32, {n_padded, n_groups});
  if (form.has_zeros) matrix.zeros = TensorView(zeros.data(), DType::kU8, {n_padded, n_groups});
  std::vector<int32_t> order = form.input_order;
  if (!order.empty()) matrix.input_order = TensorView(order.data(), DType::kI32, {in});
  return named_by(parts.front(), backend_->pack_low_bit(matrix));
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
