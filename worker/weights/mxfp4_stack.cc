// The expert matrices of gpt-oss as released: 4-bit floats in blocks of 32 along the inputs.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "kernels/quant/number_formats.h"
#include "worker/weights/expanded_tensor.h"

namespace trireme::worker {
namespace {

using plan::Range;

constexpr int64_t kBlock = 32;  // elements that share a scale
constexpr int64_t kBlockBytes = 16;

constexpr std::array<float, 16> make_values() {
  std::array<float, 16> values{};
  for (uint32_t i = 0; i < 16; ++i) values[i] = kernels::quant::e2m1_to_f32(i);
  return values;
}
constexpr std::array<float, 16> kValues = make_values();

class Mxfp4Stack final : public ExpandedTensor {
 public:
  Mxfp4Stack(const RawTensor& blocks, const RawTensor& scales, std::vector<int64_t> shape)
      : ExpandedTensor(std::move(shape)), blocks_(blocks), scales_(scales) {}

  // Stored are rows of inputs per output; asked for are rows of outputs per input. Expert by
  // expert, output by output, so that a block is decoded once.
  Status read(Range rows, Range columns, float* out) const override {
    ASSIGN_OR_RETURN(const uint8_t* blocks, blocks_.data());
    ASSIGN_OR_RETURN(const uint8_t* scales, scales_.data());
    const int64_t n_in = shape()[1];
    const int64_t n_out = shape()[2];
    for (int64_t row = rows.begin; row < rows.end;) {
      const int64_t expert = row / n_in;
      const int64_t end = std::min((expert + 1) * n_in, rows.end);
      const Range inputs{row - expert * n_in, end - expert * n_in};
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        const int64_t first_block = (expert * n_out + column) * (n_in / kBlock);
        read_output(blocks + first_block * kBlockBytes, scales + first_block, inputs,
                    out + (column - columns.begin), columns.size());
      }
      out += inputs.size() * columns.size();
      row = end;
    }
    return {};
  }

 private:
  // Inputs [begin, end) of one output, `stride` floats apart.
  static void read_output(const uint8_t* blocks, const uint8_t* scales, Range inputs, float* out,
                          int64_t stride) {
    int64_t block = -1;
    float scale = 0;
    for (int64_t i = inputs.begin; i < inputs.end; ++i) {
      if (i / kBlock != block) {
        block = i / kBlock;
        scale = kernels::quant::e8m0_to_f32(scales[block]);
      }
      const int64_t j = i % kBlock;
      const int code = blocks[block * kBlockBytes + j / 2] >> (4 * (j % 2)) & 0xf;
      *out = scale * kValues[static_cast<size_t>(code)];
      out += stride;
    }
  }

  RawTensor blocks_;
  RawTensor scales_;
};

}  // namespace

Result<ExpandedTensorPtr> make_mxfp4_stack(const RawTensor& blocks, const RawTensor& scales) {
  const std::vector<int64_t>& shape = blocks.shape();
  if (blocks.type() != "U8") return wrong_type(blocks, "U8");
  if (scales.type() != "U8") return wrong_type(scales, "U8");
  if (shape.size() != 4 || shape[3] != kBlockBytes || shape[0] < 1 || shape[1] < 1 ||
      shape[2] < 1) {
    return invalid_argument(fmt::format("tensor {} is not of shape [experts, out, in / 32, 16]",
                                        in_quotes(blocks.name())));
  }
  const std::vector<int64_t> wanted(shape.begin(), shape.begin() + 3);
  if (scales.shape() != wanted) return wrong_shape(scales, wanted);
  return ExpandedTensorPtr(std::make_unique<Mxfp4Stack>(
      blocks, scales, std::vector<int64_t>{shape[0], shape[2] * kBlock, shape[1]}));
}

}  // namespace trireme::worker
