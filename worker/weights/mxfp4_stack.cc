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
      : ExpandedTensor(std::move(shape)), blocks_(blocks), scales_(scales) {
    offer_low_bit({.code = kernels::LowBitCode::kE2M1,
                   .in_features = this->shape()[1],
                   .group_size = kBlock,
                   .transposed = true});
  }

  // Stored are rows of inputs per output; asked for are rows of outputs per input. By tiles of a
  // block's inputs and a few outputs, so that both are read and written in runs.
  Status read(Range rows, Range columns, float* out) const override {
    ASSIGN_OR_RETURN(const uint8_t* blocks, blocks_.data());
    ASSIGN_OR_RETURN(const uint8_t* scales, scales_.data());
    const int64_t n_in = shape()[1];
    const int64_t n_out = shape()[2];
    const int64_t n_blocks = n_in / kBlock;  // of an output
    Tile tile{};
    for (int64_t row = rows.begin; row < rows.end;) {
      const int64_t expert = row / n_in;
      const Range inputs{row - expert * n_in,
                         std::min((expert + 1) * n_in, rows.end) - expert * n_in};
      for (int64_t column = columns.begin; column < columns.end; column += kTile) {
        const int64_t n = std::min(kTile, columns.end - column);
        for (int64_t block = inputs.begin / kBlock; block * kBlock < inputs.end; ++block) {
          for (int64_t o = 0; o < n; ++o) {
            const int64_t at = (expert * n_out + column + o) * n_blocks + block;
            decode(blocks + at * kBlockBytes, scales[at], tile, static_cast<size_t>(o));
          }
          const int64_t begin = std::max(inputs.begin, block * kBlock);
          const int64_t end = std::min(inputs.end, (block + 1) * kBlock);
          for (int64_t i = begin; i < end; ++i) {
            float* to = out + (i - inputs.begin) * columns.size() + (column - columns.begin);
            std::copy_n(tile[static_cast<size_t>(i - block * kBlock)].data(), n, to);
          }
        }
      }
      out += inputs.size() * columns.size();
      row += inputs.size();
    }
    return {};
  }

  // `inputs` of one matrix, which begin at a block.
  Status read_low_bit(Range inputs, Range outputs, const LowBitRows& out) const override {
    ASSIGN_OR_RETURN(const uint8_t* blocks, blocks_.data());
    ASSIGN_OR_RETURN(const uint8_t* scales, scales_.data());
    const int64_t n_blocks = shape()[1] / kBlock;  // of an output
    const int64_t expert = inputs.begin / shape()[1];
    const int64_t first = inputs.begin % shape()[1] / kBlock;
    const int64_t n = (inputs.size() + kBlock - 1) / kBlock;
    const int64_t n_words = kernels::low_bit_columns(kernels::LowBitCode::kE2M1, inputs.size());
    auto* words = reinterpret_cast<uint32_t*>(out.codes);
    auto* exponents = static_cast<uint8_t*>(out.scales);
    for (int64_t o = outputs.begin; o < outputs.end; ++o, words += n_words, exponents += n) {
      const int64_t at = (expert * shape()[2] + o) * n_blocks + first;
      const uint8_t* block = blocks + at * kBlockBytes;
      for (int64_t i = 0; i < n_words; ++i) {
        words[i] = nibbles_in_order(kernels::quant::load_u32(block + i * 4));
      }
      for (int64_t i = 0; i < n; ++i) {
        exponents[i] = exponent_of(block + i * kBlockBytes, scales[at + i]);
        if (exponents[i] != 0) continue;
        return unimplemented(fmt::format("block {} of output {} has the scale 2^{}", first + i, o,
                                         int{scales[at + i]} - 127));
      }
    }
    return {};
  }

 private:
  static constexpr int64_t kTile = 16;  // outputs
  using Tile = std::array<std::array<float, kTile>, kBlock>;

  // A block's inputs of one output, into a column of the tile.
  static void decode(const uint8_t* block, uint8_t scale_bits, Tile& tile, size_t column) {
    const float scale = kernels::quant::e8m0_to_f32(scale_bits);
    for (size_t j = 0; j < kBlockBytes; ++j) {
      tile[2 * j][column] = scale * kValues[block[j] & 0xf];
      tile[2 * j + 1][column] = scale * kValues[block[j] >> 4];
    }
  }

  // Nibbles of inputs in their order as low_bit.h has them: the even ones, then the odd ones.
  static uint32_t nibbles_in_order(uint32_t word) {
    const auto together = [](uint32_t bytes) {
      bytes = (bytes | bytes >> 4) & 0x00ff00ffu;
      return (bytes | bytes >> 8) & 0xffffu;
    };
    return together(word & 0x0f0f0f0fu) | together(word >> 4 & 0x0f0f0f0fu) << 16;
  }

  // 0 where it leaves the range. A block of zeros has any scale.
  static uint8_t exponent_of(const uint8_t* block, uint8_t scale) {
    if (scale >= kernels::kLeastExponent && scale <= kernels::kMostExponent) return scale;
    const bool is_zero =
        std::all_of(block, block + kBlockBytes, [](uint8_t two) { return (two & 0x77) == 0; });
    return is_zero && scale != 0xff ? kernels::kExponentOfOne : uint8_t{0};
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
