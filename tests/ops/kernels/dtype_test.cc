#include "kernels/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/isa_select.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const bf16 value{static_cast<uint16_t>(bits)};
    const float wide = to_f32(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_f32(to_bf16(wide)))) << bits;
    } else {
      EXPECT_EQ(to_bf16(wide).bits, bits);
    }
  }
}

TEST(F16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const f16 value{static_cast<uint16_t>(bits)};
    const float wide = to_f32(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_f32(to_f16(wide)))) << bits;
    } else {
      EXPECT_EQ(to_f16(wide).bits, bits);
    }
  }
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, to_bf16(1.0f).bits);         // tie: down to even
  EXPECT_EQ(to_f32(to_bf16(1.0f + 3 * 0x1p-8f)), 1.0f + 4 * 0x1p-8f);  // tie: up to even
  EXPECT_EQ(to_f32(to_bf16(1.0f + 0x1.02p-8f)), 1.0f + 0x1p-7f);       // just above the tie
  EXPECT_TRUE(std::isinf(to_f32(to_bf16(std::numeric_limits<float>::max()))));
}

// Of all numbers below the one with `n_bits`; `sign` is the sign's bit.
template <typename T, typename Round>
void expect_nearest_even(uint32_t n_bits, uint32_t sign, Round round) {
  using Bits = decltype(T::bits);
  for (uint32_t bits = 0; bits < n_bits; ++bits) {
    const float low = to_f32(T{static_cast<Bits>(bits)});
    const float high = to_f32(T{static_cast<Bits>(bits + 1)});
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(round(middle).bits, bits + bits % 2) << bits;
    EXPECT_EQ(round(std::nextafter(middle, low)).bits, bits);
    EXPECT_EQ(round(std::nextafter(middle, high)).bits, bits + 1);
    EXPECT_EQ(round(-middle).bits, sign + bits + bits % 2);
  }
}

TEST(F16, RoundsToNearestEvenAtEveryMidpoint) { expect_nearest_even<f16>(0x7bff, 0x8000, to_f16); }

TEST(F16, OverflowBecomesInfinityFrom65520On) {
  EXPECT_EQ(to_f16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(-1e30f).bits, 0xfc00);
  EXPECT_EQ(to_f16(0x1p-26f).bits, 0);
}

TEST(E4M3, EveryNumberSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const float wide = to_f32(e4m3{static_cast<uint8_t>(bits)});
    if (std::isnan(wide)) continue;
    EXPECT_EQ(to_e4m3(wide).bits, bits) << bits;
  }
}

TEST(E4M3, RoundsToNearestEvenAtEveryMidpoint) { expect_nearest_even<e4m3>(0x7e, 0x80, to_e4m3); }

TEST(E4M3, WhatIsBeyondItsRangeIsItsEnd) {
  EXPECT_EQ(to_e4m3(464.0f).bits, 0x7e);
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::infinity()).bits, 0x7e);
  EXPECT_EQ(to_e4m3(-1e30f).bits, 0xfe);
  EXPECT_EQ(to_e4m3(std::nanf("")).bits, 0x7e);
}

// The vector conversions agree with the scalar ones on every bf16 and f16, and on random f32 of
// every exponent.
class Conversions : public EachIsa {};

TEST_P(Conversions, AgreeWithTheScalarOnes) {
  const auto kernels = cpu::select_kernels(GetParam()).value();
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    std::vector<uint16_t> halves(65536);
    for (uint32_t i = 0; i < 65536; ++i) halves[i] = static_cast<uint16_t>(i);
    std::vector<float> wide(65536);
    kernels.to_f32(halves.data(), dtype, 65536, wide.data());
    for (uint32_t i = 0; i < 65536; ++i) {
      const float expected =
          dtype == DType::kBF16 ? to_f32(bf16{halves[i]}) : to_f32(f16{halves[i]});
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(wide[i])) << dtype << " " << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), std::bit_cast<uint32_t>(expected))
            << dtype << " " << i;
      }
    }
    std::mt19937 engine(7);
    for (float& value : wide) value = std::bit_cast<float>(static_cast<uint32_t>(engine()));
    kernels.from_f32(wide.data(), 65536, dtype, halves.data());
    for (uint32_t i = 0; i < 65536; ++i) {
      const uint16_t expected =
          dtype == DType::kBF16 ? to_bf16(wide[i]).bits : to_f16(wide[i]).bits;
      if (std::isnan(wide[i])) {
        const float back = dtype == DType::kBF16 ? to_f32(bf16{halves[i]}) : to_f32(f16{halves[i]});
        ASSERT_TRUE(std::isnan(back)) << dtype << " " << i;
      } else {
        ASSERT_EQ(halves[i], expected) << dtype << " of " << wide[i];
      }
    }
  }
}

TEST_P(Conversions, OfE4M3AgreeWithTheScalarOnes) {
  const auto kernels = cpu::select_kernels(GetParam()).value();
  std::vector<uint8_t> codes(256);
  for (uint32_t i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(i);
  std::vector<float> wide(65537);
  kernels.to_f32(codes.data(), DType::kE4M3, 256, wide.data());
  for (uint32_t i = 0; i < 256; ++i) {
    const float expected = to_f32(e4m3{codes[i]});
    // No cache holds the codes of NaN.
    if (std::isnan(expected)) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), std::bit_cast<uint32_t>(expected)) << i;
  }
  std::mt19937 engine(8);
  for (float& value : wide) value = std::bit_cast<float>(static_cast<uint32_t>(engine()));
  // All that round up or down within its range, by halves of a step and more finely.
  for (size_t i = 0; i < 40000; ++i) {
    wide[i] = std::bit_cast<float>(0x3a000000u + static_cast<uint32_t>(i) * 0x1003u);
    if (i % 3 == 0) wide[i] = -wide[i];
  }
  codes.resize(wide.size());
  kernels.from_f32(wide.data(), static_cast<int64_t>(wide.size()), DType::kE4M3, codes.data());
  for (size_t i = 0; i < wide.size(); ++i) {
    ASSERT_EQ(codes[i], to_e4m3(wide[i]).bits) << wide[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, Conversions, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
