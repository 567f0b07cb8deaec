// Small numbers and blocks: by hand where that is possible, and against blocks that were decoded
// elsewhere (tests/golden/formats/gguf_blocks.json).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/dtype.h"
#include "kernels/quant/dequantize.h"
#include "kernels/quant/number_formats.h"

namespace trireme::kernels::quant {
namespace {

TEST(NumberFormats, E4M3) {
  static_assert(e4m3_to_f32(0x38) == 1.0f);
  EXPECT_EQ(e4m3_to_f32(0x00), 0.0f);
  EXPECT_TRUE(std::signbit(e4m3_to_f32(0x80)));
  EXPECT_EQ(e4m3_to_f32(0x01), 0x1p-9f);  // the smallest
  EXPECT_EQ(e4m3_to_f32(0x07), 0x7p-9f);  // the largest subnormal
  EXPECT_EQ(e4m3_to_f32(0x08), 0x1p-6f);  // the smallest normal
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);   // the largest
  EXPECT_EQ(e4m3_to_f32(0xfe), -448.0f);
  EXPECT_EQ(e4m3_to_f32(0xbc), -1.5f);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0xff)));
  for (int i = 1; i < 0x7f; ++i) {
    EXPECT_LT(e4m3_to_f32(static_cast<uint8_t>(i - 1)), e4m3_to_f32(static_cast<uint8_t>(i)));
  }
}

TEST(NumberFormats, E2M1) {
  const float expected[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(e2m1_to_f32(i), expected[i]);
    EXPECT_EQ(e2m1_to_f32(i | 8u), -expected[i]);
  }
}

TEST(NumberFormats, E8M0) {
  EXPECT_EQ(e8m0_to_f32(127), 1.0f);
  EXPECT_EQ(e8m0_to_f32(0), 0x1p-127f);
  EXPECT_EQ(e8m0_to_f32(254), 0x1p127f);
  EXPECT_TRUE(std::isnan(e8m0_to_f32(255)));
}

TEST(NumberFormats, HalvesEqualTheirConversionElsewhere) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float here = f16_to_f32(bits);
    const float there = to_f32(f16{static_cast<uint16_t>(bits)});
    ASSERT_EQ(std::bit_cast<uint32_t>(here), std::bit_cast<uint32_t>(there)) << bits;
  }
}

TEST(Blocks, ByHand) {
  // d = 2, m = 0.5; nibbles 3 (element 1) and 12 (element 17), all others 0.
  std::vector<uint8_t> block(20, 0);
  block[1] = 0x40;
  block[3] = 0x38;
  block[5] = 0xc3;
  float out[32];
  dequantize_row(GgufType::kQ4_1, block.data(), 0, 32, out);
  EXPECT_EQ(out[0], 0.5f);
  EXPECT_EQ(out[1], 6.5f);
  EXPECT_EQ(out[17], 24.5f);
  EXPECT_EQ(out[31], 0.5f);
}

std::vector<uint8_t> from_hex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Blocks, EqualAnOutsideDecoderBitForBit) {
  std::ifstream stream("tests/golden/formats/gguf_blocks.json");
  const auto golden = nlohmann::json::parse(stream)["types"];
  int n_types = 0;
  for (uint32_t number = 0; number < 64; ++number) {
    const GgufTypeInfo* info = gguf_type_info(number);
    if (info == nullptr || info->block_elements == 1) continue;
    SCOPED_TRACE(std::string(info->name));
    ++n_types;
    const auto& entry = golden.at(std::string(info->name));
    EXPECT_EQ(entry["block_elements"], info->block_elements);
    const auto bytes = from_hex(entry["bytes"]);
    const auto value_bytes = from_hex(entry["values"]);
    std::vector<float> expected(value_bytes.size() / sizeof(float));
    std::memcpy(expected.data(), value_bytes.data(), value_bytes.size());
    const auto n = static_cast<int64_t>(expected.size());
    ASSERT_EQ(static_cast<int64_t>(bytes.size()) / info->block_bytes * info->block_elements, n);
    std::vector<float> whole(expected.size());
    dequantize_row(info->type, bytes.data(), 0, n, whole.data());
    EXPECT_EQ(whole, expected);
    // Any part of a row, cut anywhere.
    for (int64_t begin = 0; begin <= n; begin += 13) {
      const int64_t end = std::min(n, begin + 50);
      std::vector<float> part(static_cast<size_t>(end - begin));
      dequantize_row(info->type, bytes.data(), begin, end, part.data());
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin));
    }
  }
  EXPECT_EQ(n_types, static_cast<int>(golden.size()));
}

}  // namespace
}  // namespace trireme::kernels::quant
