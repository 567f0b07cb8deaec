#include "parallel/plan/rope_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::golden_spec;
using ::testing::HasSubstr;

// Within what a float holds.
void expect_near(const std::vector<float>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i] / want[i], 1, 1e-6) << "pair " << i;
}

TEST(RopeSpec, UnscaledFrequenciesAreAGeometricSeries) {
  RopeSpec rope;
  rope.rotary_dim = 8;
  EXPECT_THAT(rope.inv_freq(), ElementsAre(::testing::FloatEq(1), ::testing::FloatEq(0.1f),
                                           ::testing::FloatEq(0.01f), ::testing::FloatEq(0.001f)));
  rope.scaling = RopeScaling::kLinear;
  rope.factor = 2;
  EXPECT_FLOAT_EQ(rope.inv_freq()[1], 0.05f);
}

TEST(RopeSpec, Llama3SlowsLongWavesKeepsShortOnesAndBlendsBetween) {
  const RopeSpec rope = golden_spec("llama-3.1-8b").ropes[0];
  RopeSpec unscaled = rope;
  unscaled.scaling = RopeScaling::kNone;
  const std::vector<float> scaled = rope.inv_freq();
  const std::vector<float> plain = unscaled.inv_freq();
  ASSERT_EQ(scaled.size(), 64u);
  int n_kept = 0, n_slowed = 0, n_blended = 0;
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(scaled[i], plain[i]);
      ++n_kept;
    } else if (wavelength > 8192.0) {
      EXPECT_FLOAT_EQ(scaled[i], plain[i] / 8);
      ++n_slowed;
    } else {
      EXPECT_LT(scaled[i], plain[i]);
      EXPECT_GT(scaled[i], plain[i] / 8);
      ++n_blended;
    }
  }
  // For theta 500000 and 64 pairs the two thresholds fall at pairs 28.2 and 35.0.
  EXPECT_EQ(n_kept, 29);
  EXPECT_EQ(n_blended, 6);
  EXPECT_EQ(n_slowed, 29);
}

TEST(RopeSpec, YarnRampsFromKeptToInterpolatedPairs) {
  RopeSpec rope;
  rope.theta = 500;
  rope.rotary_dim = 24;
  rope.scaling = RopeScaling::kYarn;
  rope.factor = 4;
  rope.original_context = 32;
  rope.beta_fast = 2;
  rope.beta_slow = 0.5;
  rope.truncate = false;
  // The formula evaluated apart in double precision.
  expect_near(rope.inv_freq(),
              {1.0, 0.595779880472274, 0.3355474381236399, 0.14066139597302552, 0.04850266608905232,
               0.018765890312771736, 0.011180339887498949, 0.006661021561813518, 0.0039685026299205,
               0.0023643540225079395, 0.0014086345569239201, 0.000839236127953248});
  EXPECT_FLOAT_EQ(rope.cos_sin_scale(), 1.138629436111989f);
  EXPECT_EQ(rope.score_scale(), 1);

  rope.theta = 200;
  rope.rotary_dim = 16;
  rope.truncate = true;
  rope.mscale = rope.mscale_all_dim = 0.707;
  expect_near(rope.inv_freq(), {1.0, 0.5156692688606229, 0.19943609613543709, 0.06856204391905182,
                                0.017677669529663688, 0.009115830921521387, 0.004700753866357992,
                                0.002424034309358572});
  EXPECT_EQ(rope.cos_sin_scale(), 1);  // the two mscales cancel
  EXPECT_FLOAT_EQ(rope.score_scale(), 1.2056281810045126f);
  rope.attention_factor = 0.5;
  EXPECT_EQ(rope.cos_sin_scale(), 0.5f);
}

TEST(RopeSpec, ADynamicBaseGrowsBehindTheOriginalContext) {
  RopeSpec rope;
  rope.theta = 200;
  rope.rotary_dim = 8;
  const std::vector<float> plain = rope.inv_freq();
  rope.scaling = RopeScaling::kDynamic;
  rope.factor = 2;
  rope.original_context = 64;
  EXPECT_EQ(rope.inv_freq_at(64), plain);
  expect_near(rope.inv_freq_at(128),
              {1.0, 0.18437502102397646, 0.033994148377591765, 0.006267671821810657});
  // A set for each length that it is made for: 64 and less, 65, ... 128.
  EXPECT_EQ(rope.reach(), 128);
  const auto sets = rope.inv_freq_sets();
  ASSERT_EQ(sets.size(), 65u);
  EXPECT_EQ(sets[0], plain);
  EXPECT_EQ(sets[64], rope.inv_freq_at(128));
}

TEST(RopeGrowth, ATokensBaseIsThatOfThePromptOrOfTheLengthThatItMakes) {
  const RopeGrowth growth{.from = 10};
  EXPECT_EQ(growth.set_of(7, 9), 0);    // makes 10 tokens
  EXPECT_EQ(growth.set_of(7, 10), 1);   // the first beyond
  EXPECT_EQ(growth.set_of(15, 0), 5);   // all of a long prompt
  EXPECT_EQ(growth.set_of(15, 14), 5);  //
  EXPECT_EQ(growth.set_of(15, 15), 6);
  EXPECT_EQ(growth.key_class(10), 0);
  EXPECT_EQ(growth.key_class(15), 15);
  EXPECT_EQ(RopeGrowth().key_class(15), 0);
}

TEST(RopeSpec, LongropeHasASetOfFactorsForEachSideOfTheBorder) {
  RopeSpec rope;
  rope.theta = 100;
  rope.rotary_dim = 4;
  rope.scaling = RopeScaling::kLongRope;
  rope.factor = 8;
  rope.original_context = 32;
  rope.short_factors = {1, 2};
  rope.long_factors = {4, 5};
  expect_near(rope.inv_freq_at(32), {1, 0.05});
  expect_near(rope.inv_freq_at(33), {0.25, 0.02});
  EXPECT_FLOAT_EQ(rope.cos_sin_scale(), 1.2649110640673518f);
  EXPECT_EQ(rope.inv_freq_sets().size(), 2u);
}

json with_rope(const char* key, const json& value) {
  json config = json::parse(R"({"architectures": ["Phi3ForCausalLM"], "hidden_size": 64,
    "intermediate_size": 160, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 512,
    "max_position_embeddings": 256, "partial_rotary_factor": 0.5})");
  config[key] = value;
  return config;
}

TEST(RopeConfig, PartialAndScaledRotationsInBothLayouts) {
  const json factors = {1.0, 1.5, 2.0, 2.5};
  const json longrope = {{"type", "longrope"},
                         {"short_factor", factors},
                         {"long_factor", factors},
                         {"original_max_position_embeddings", 32}};
  auto spec = parse_model_spec(with_rope("rope_scaling", longrope).dump());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->ropes[0].rotary_dim, 8);
  EXPECT_EQ(spec->ropes[0].factor, 8);
  EXPECT_EQ(spec->recompute_length(), 32);
  spec = parse_model_spec(with_rope("rope_parameters", {{"rope_type", "yarn"},
                                                        {"factor", 4.0},
                                                        {"rope_theta", 300.0},
                                                        {"partial_rotary_factor", 0.25}})
                              .dump());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->ropes[0].rotary_dim, 4);
  EXPECT_EQ(spec->ropes[0].theta, 300);
  EXPECT_EQ(spec->ropes[0].original_context, 256);
  EXPECT_EQ(spec->recompute_length(), 0);
}

TEST(RopeConfig, ADynamicBaseMakesTheContextLonger) {
  auto spec =
      parse_model_spec(with_rope("rope_scaling", {{"type", "dynamic"}, {"factor", 2.5}}).dump());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->context, 640);
  EXPECT_EQ(spec->rope_growth().from, 256);
  EXPECT_EQ(spec->recompute_length(), 0);
  spec = parse_model_spec(with_rope("rope_scaling", {{"type", "linear"}, {"factor", 2.5}}).dump());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->context, 256);
  EXPECT_FALSE(spec->rope_growth().grows());
}

TEST(RopeConfig, WhatDoesNotFitIsRefusedByName) {
  const auto error_of = [](const char* key, const json& value) {
    const auto spec = parse_model_spec(with_rope(key, value).dump());
    return spec.ok() ? std::string("accepted") : spec.error().message;
  };
  EXPECT_THAT(error_of("rope_scaling", {{"type", "longrope"},
                                        {"short_factor", {1.0}},
                                        {"long_factor", {1.0}},
                                        {"original_max_position_embeddings", 32}}),
              HasSubstr("short_factor"));
  EXPECT_THAT(error_of("rope_scaling", {{"type", "longrope"}}),
              HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(error_of("rope_scaling", {{"type", "yarn"}, {"factor", 2.0}, {"beta_fast", "x"}}),
              HasSubstr("beta_fast"));
  EXPECT_THAT(error_of("rope_scaling", {{"type", "dynamic"}, {"factor", 1e5}}),
              HasSubstr("a dynamic rope of factor 100000 over 256 tokens is not served"));
  EXPECT_THAT(error_of("partial_rotary_factor", 0.05), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(error_of("rope_parameters", {{"full_attention", json::object()}}),
              HasSubstr("layer kind"));
}

}  // namespace
}  // namespace trireme::plan
