// Weights that are made up: the same for any cut, near normal, different by name and seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {
namespace {

TEST(RandomWeights, AnySliceIsASliceOfTheWhole) {
  auto source = make_random_weights(42);
  const plan::TensorSlice whole{"model.layers.0.mlp.up_proj.weight", {33, 17}, {0, 33}, {0, 17}};
  std::vector<bf16> all(33 * 17);
  ASSERT_TRUE(source->read(whole, all.data()).ok());
  plan::TensorSlice part = whole;
  part.rows = {5, 12};
  part.columns = {3, 10};
  std::vector<bf16> some(7 * 7);
  ASSERT_TRUE(source->read(part, some.data()).ok());
  for (size_t r = 0; r < 7; ++r) {
    for (size_t c = 0; c < 7; ++c) {
      EXPECT_EQ(some[r * 7 + c].bits, all[(r + 5) * 17 + c + 3].bits);
    }
  }
}

// With a quantisation whose codes may stay, codes and what is read expanded are the same weights.
TEST(RandomWeights, CodesAreTheWeightsToo) {
  const plan::QuantizationSpec awq{.layout = plan::QuantLayout::kAwq, .bits = 4, .group_size = 32};
  const plan::QuantizationSpec fp8{.layout = plan::QuantLayout::kScaled};
  const plan::QuantizationSpec int8{.layout = plan::QuantLayout::kScaled,
                                    .element = plan::QuantElement::kInt8};
  for (const plan::QuantizationSpec& quantization : {awq, fp8, int8}) {
    const auto source = make_random_weights(42, quantization);
    const plan::TensorSlice slice{"model.layers.0.mlp.up_proj.weight", {33, 96}, {5, 12}, {32, 96}};
    const LowBitForm* form = source->low_bit_form(slice);
    ASSERT_NE(form, nullptr);
    const bool is_int4 = form->code == kernels::LowBitCode::kInt4;
    EXPECT_EQ(form->group_size, is_int4 ? 32 : 96);
    EXPECT_EQ(form->has_zeros, is_int4);
    std::vector<uint32_t> codes(7 * 64);
    std::vector<float> scales(7 * 2);
    std::vector<uint8_t> zeros(7 * 2);
    ASSERT_TRUE(source
                    ->read_low_bit(slice, {reinterpret_cast<uint8_t*>(codes.data()), scales.data(),
                                           zeros.data()})
                    .ok());
    kernels::LowBitMatrix m{.code = form->code, .in_features = 64, .group_size = is_int4 ? 32 : 64};
    m.codes = is_int4 ? TensorView(codes.data(), DType::kI32, {7, 8})
                      : TensorView(codes.data(), DType::kU8, {7, 64});
    m.scales = TensorView(scales.data(), DType::kF32, {7, is_int4 ? 2 : 1});
    if (is_int4) m.zeros = TensorView(zeros.data(), DType::kU8, {7, 2});
    ASSERT_TRUE(kernels::check_low_bit(m).ok());
    std::vector<bf16> plain(7 * 64);
    ASSERT_TRUE(source->read(slice, plain.data()).ok());
    double squares = 0;
    for (size_t i = 0; i < 7; ++i) {
      std::vector<float> row(64);
      kernels::expand_low_bit_row(m, static_cast<int64_t>(i), row.data());
      for (size_t k = 0; k < 64; ++k) {
        ASSERT_EQ(row[k], to_f32(plain[i * 64 + k])) << i << " " << k;
        squares += double{row[k]} * row[k];
      }
    }
    EXPECT_NEAR(std::sqrt(squares / (7 * 64)), 0.016, 0.006);
    // Routers, embeddings and norms stay plain, and so does everything without a quantisation.
    EXPECT_EQ(source->low_bit_form({"model.layers.0.mlp.gate.weight", {8, 96}, {}, {}}), nullptr);
    EXPECT_EQ(source->low_bit_form({"lm_head.weight", {8, 96}, {}, {}}), nullptr);
    EXPECT_EQ(source->low_bit_form({"model.layers.0.input_layernorm.weight", {96}, {}, {}}),
              nullptr);
    EXPECT_EQ(make_random_weights(42)->low_bit_form(slice), nullptr);
  }
}

// Of MXFP4, stacks of experts are, outputs by inputs what is shown as inputs by outputs.
TEST(RandomWeights, ExpertsAreCodesOfMxfp4) {
  const auto source = make_random_weights(42, {.layout = plan::QuantLayout::kMxfp4});
  const std::string prefix = "model.layers.0.mlp.experts.";
  // Inputs 32 to 96 of the second of three experts, outputs 5 to 12 of 24.
  const plan::TensorSlice slice{prefix + "gate_up_proj", {3, 96, 24}, {128, 192}, {5, 12}};
  const LowBitForm* form = source->low_bit_form(slice);
  ASSERT_NE(form, nullptr);
  EXPECT_TRUE(form->transposed);
  EXPECT_EQ(form->in_features, 96);
  std::vector<uint32_t> codes(7 * 8);
  std::vector<uint8_t> scales(7 * 2);
  ASSERT_TRUE(source
                  ->read_low_bit(slice, {.codes = reinterpret_cast<uint8_t*>(codes.data()),
                                         .scales = scales.data()})
                  .ok());
  kernels::LowBitMatrix m{.code = form->code, .in_features = 64, .group_size = 32};
  m.codes = TensorView(codes.data(), DType::kI32, {7, 8});
  m.scales = TensorView(scales.data(), DType::kU8, {7, 2});
  ASSERT_TRUE(kernels::check_low_bit(m).ok());
  std::vector<bf16> plain(64 * 7);
  ASSERT_TRUE(source->read(slice, plain.data()).ok());
  std::vector<float> row(64);
  for (size_t o = 0; o < 7; ++o) {
    kernels::expand_low_bit_row(m, static_cast<int64_t>(o), row.data());
    for (size_t k = 0; k < 64; ++k) ASSERT_EQ(row[k], to_f32(plain[k * 7 + o])) << o << " " << k;
  }
  EXPECT_EQ(source->low_bit_form({"model.layers.0.self_attn.q_proj.weight", {32, 96}, {}, {}}),
            nullptr);
  EXPECT_EQ(source->low_bit_form({prefix + "gate_up_proj_bias", {3, 24}, {}, {}}), nullptr);
}

TEST(RandomWeights, AStackOfExpertsIsOneMatrixUnderTheOther) {
  auto source = make_random_weights(42);
  const plan::TensorSlice stack{"experts.gate_up_proj", {3, 5, 4}, {0, 15}, {0, 4}};
  std::vector<bf16> all(60);
  ASSERT_TRUE(source->read(stack, all.data()).ok());
  plan::TensorSlice second = stack;
  second.rows = {5, 10};
  second.columns = {1, 3};
  std::vector<bf16> some(10);
  ASSERT_TRUE(source->read(second, some.data()).ok());
  for (size_t r = 0; r < 5; ++r) {
    for (size_t c = 0; c < 2; ++c) {
      EXPECT_EQ(some[r * 2 + c].bits, all[(r + 5) * 4 + c + 1].bits);
    }
  }
  // Rows do not overlap.
  for (size_t r = 1; r < 15; ++r) {
    const bf16* row = all.data() + r * 4;
    const bool overlaps =
        std::equal(row, row + 3, row - 3, [](bf16 x, bf16 y) { return x.bits == y.bits; });
    EXPECT_FALSE(overlaps) << r;
  }
}

TEST(RandomWeights, AreNearNormalAndDifferByNameAndSeed) {
  const auto fill = [](uint64_t seed, const std::string& name) {
    std::vector<bf16> bits(100'000);
    const auto n = static_cast<int64_t>(bits.size());
    CHECK(make_random_weights(seed)->read({name, {n}, {0, n}, {0, 1}}, bits.data()).ok());
    std::vector<double> values(bits.size());
    std::transform(bits.begin(), bits.end(), values.begin(),
                   [](bf16 value) { return to_f32(value); });
    return values;
  };
  const auto moments = [](const std::vector<double>& x) {
    double mean = 0;
    double square = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) square += (v - mean) * (v - mean) / static_cast<double>(x.size());
    return std::pair(mean, std::sqrt(square));
  };
  const auto a = fill(1, "w");
  EXPECT_NEAR(moments(a).first, 0, 3e-4);
  EXPECT_NEAR(moments(a).second, 0.02, 2e-4);
  EXPECT_NEAR(moments(fill(1, "model.norm.weight")).first, 1, 1e-3);
  EXPECT_NE(a, fill(2, "w"));
  EXPECT_NE(a, fill(1, "v"));
  EXPECT_EQ(a, fill(1, "w"));
}

}  // namespace
}  // namespace trireme::worker
