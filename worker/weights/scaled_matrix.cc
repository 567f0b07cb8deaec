// One byte per weight, times a scale.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/quant/number_formats.h"
#include "worker/weights/expanded_tensor.h"

namespace trireme::worker {
namespace {

using kernels::quant::e4m3_to_f32;
using plan::QuantElement;
using plan::Range;

constexpr std::array<float, 256> make_table(QuantElement element) {
  std::array<float, 256> table{};
  for (int i = 0; i < 256; ++i) {
    const auto byte = static_cast<uint8_t>(i);
    table[static_cast<size_t>(i)] = element == QuantElement::kE4M3
                                        ? e4m3_to_f32(byte)
                                        : static_cast<float>(static_cast<int8_t>(byte));
  }
  return table;
}

constexpr std::array<float, 256> kE4M3Values = make_table(QuantElement::kE4M3);
constexpr std::array<float, 256> kInt8Values = make_table(QuantElement::kInt8);

int64_t blocks_of(int64_t extent, int64_t block) { return (extent + block - 1) / block; }

class ScaledMatrix final : public ExpandedTensor {
 public:
  ScaledMatrix(const RawTensor& weight, const RawTensor& scale, int64_t block_rows,
               int64_t block_columns, QuantElement element)
      : ExpandedTensor(weight.shape()),
        weight_(weight),
        scale_(scale),
        block_rows_(block_rows),
        block_columns_(block_columns),
        values_(element == QuantElement::kE4M3 ? kE4M3Values.data() : kInt8Values.data()) {
    const bool is_fp8 = element == QuantElement::kE4M3;
    offer_low_bit({.code = is_fp8 ? kernels::LowBitCode::kE4M3 : kernels::LowBitCode::kInt8,
                   .in_features = shape()[1],
                   .group_size = std::min(block_columns, shape()[1])});
  }

  Status read(Range rows, Range columns, float* out) const override {
    ASSIGN_OR_RETURN(const uint8_t* weight, weight_.data());
    ASSIGN_OR_RETURN(const uint8_t* scale, scale_.data());
    const int64_t width = shape()[1];
    const int64_t n_scales = blocks_of(width, block_columns_);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const uint8_t* from = weight + row * width;
      for (int64_t at = columns.begin; at < columns.end;) {
        const int64_t block = at / block_columns_;
        const int64_t end = std::min((block + 1) * block_columns_, columns.end);
        const float s = load_float(scale_, scale, row / block_rows_ * n_scales + block);
        for (; at < end; ++at) *out++ = values_[from[at]] * s;
      }
    }
    return {};
  }

  Status read_low_bit(Range rows, Range columns, const LowBitRows& out) const override {
    ASSIGN_OR_RETURN(const uint8_t* weight, weight_.data());
    ASSIGN_OR_RETURN(const uint8_t* scale, scale_.data());
    const int64_t width = shape()[1];
    const int64_t n_scales = blocks_of(width, block_columns_);
    const int64_t first_block = columns.begin / block_columns_;
    const int64_t end_block = blocks_of(columns.end, block_columns_);
    auto* scales = static_cast<float*>(out.scales);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      std::memcpy(out.codes + (row - rows.begin) * columns.size(),
                  weight + row * width + columns.begin, static_cast<size_t>(columns.size()));
      for (int64_t block = first_block; block < end_block; ++block) {
        *scales++ = load_float(scale_, scale, row / block_rows_ * n_scales + block);
      }
    }
    return {};
  }

 private:
  RawTensor weight_;
  RawTensor scale_;
  int64_t block_rows_;
  int64_t block_columns_;
  const float* values_;
};

}  // namespace

Status ExpandedTensor::read_low_bit(Range, Range, const LowBitRows&) const {
  CHECK(false) << "this storage form has no low-bit form";
  return {};
}

void ExpandedTensor::offer_low_bit(LowBitForm form) {
  CHECK_EQ(shape_.size(), form.transposed ? size_t{3} : size_t{2});
  const bool whole_rows = form.group_size >= form.in_features;
  if (whole_rows || form.group_size % kernels::low_bit_group_unit(form.code) == 0) {
    form_ = std::move(form);
  }
}

bool is_float(const RawTensor& tensor) {
  return tensor.stored->dtype == DType::kF32 || tensor.stored->dtype == DType::kF16 ||
         tensor.stored->dtype == DType::kBF16;
}

float load_float(const RawTensor& tensor, const uint8_t* data, int64_t index) {
  const uint8_t* bytes = data + index * tensor.stored->element_bytes;
  switch (*tensor.stored->dtype) {
    case DType::kF32:
      return kernels::quant::load_f32(bytes);
    case DType::kF16:
      return kernels::quant::load_f16(bytes);
    default:
      return kernels::quant::load_bf16(bytes);
  }
}

Error wrong_shape(const RawTensor& tensor, const std::vector<int64_t>& wanted) {
  return invalid_argument(fmt::format("tensor {} has shape [{}]; its weight makes it [{}]",
                                      in_quotes(tensor.name()), fmt::join(tensor.shape(), ", "),
                                      fmt::join(wanted, ", ")));
}

Error wrong_type(const RawTensor& tensor, std::string_view wanted) {
  return invalid_argument(fmt::format("tensor {} has dtype {}; the quantisation makes it {}",
                                      in_quotes(tensor.name()), tensor.type(), wanted));
}

Result<ExpandedTensorPtr> make_scaled_matrix(const plan::QuantizationSpec& spec,
                                             const RawTensor& weight, const RawTensor& scale) {
  if (weight.shape().size() != 2 || weight.shape()[0] < 1 || weight.shape()[1] < 1) {
    return unimplemented(fmt::format("tensor {} is quantised and no matrix (shape [{}])",
                                     in_quotes(weight.name()), fmt::join(weight.shape(), ", ")));
  }
  if (!is_float(scale)) return wrong_type(scale, "F32, F16 or BF16");
  const int64_t out = weight.shape()[0];
  const int64_t in = weight.shape()[1];
  int64_t block_rows = out;
  int64_t block_columns = in;
  std::vector<int64_t> wanted = {1};
  std::vector<int64_t> also;  // the same number of scales, shaped otherwise
  switch (spec.scale) {
    case plan::QuantScale::kTensor:
      if (scale.shape().size() == 2) also = {1, 1};
      break;
    case plan::QuantScale::kChannel:
      block_rows = 1;
      wanted = {out, 1};
      also = {out};
      break;
    case plan::QuantScale::kBlock:
      block_rows = spec.block_rows;
      block_columns = spec.block_columns;
      wanted = {blocks_of(out, block_rows), blocks_of(in, block_columns)};
      also = wanted;
      break;
  }
  if (scale.shape() != wanted && scale.shape() != also) return wrong_shape(scale, wanted);
  return ExpandedTensorPtr(
      std::make_unique<ScaledMatrix>(weight, scale, block_rows, block_columns, spec.element));
}

}  // namespace trireme::worker
