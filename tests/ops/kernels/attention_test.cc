#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/kernels/agreement.h"
#include "tests/ops/kernels/attention_fixture.h"

namespace trireme::kernels::testing {
namespace {

constexpr AttentionShape kShapes[] = {{4, 4, 12, 16},   {6, 2, 24, 32}, {8, 1, 32, 16},
                                      {4, 2, 33, 48},   {4, 2, 64, 64}, {5, 5, 80, 16},
                                      {12, 4, 128, 32}, {2, 1, 1, 16}};

std::vector<float> sinks_of(int64_t n_heads) {
  std::vector<float> sinks;
  for (int64_t h = 0; h < n_heads; ++h) sinks.push_back(static_cast<float>(h % 4) * 2 - 3);
  return sinks;
}

// Windows and chunks around the tile (64), the run (16) and the block, and each rule with others.
std::vector<AttentionRules> rules_of(int64_t n_heads) {
  return {{.window = 1},
          {.window = 17},
          {.window = 64},
          {.window = 100},
          {.window = 1000},
          {.chunk = 1},
          {.chunk = 32},
          {.chunk = 100},
          {.softcap = 2},
          {.causal = false},
          {.sinks = sinks_of(n_heads)},
          {.window = 70, .sinks = sinks_of(n_heads)},
          {.window = 40, .chunk = 50, .softcap = 1.5f, .sinks = sinks_of(n_heads)}};
}

class AttentionTest : public EachIsa {};

TEST_P(AttentionTest, AgreesWithTheReference) {
  uint32_t seed = 31;
  for (const AttentionShape& shape : kShapes) {
    for (const DType cache : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
      // A prefill, a decode row, a chunk in the middle, a sequence without queries, one key alone,
      // a tile's edge.
      const PagedSequences sequences(shape, cache, {70, 131, 100, 20, 1, 64}, ++seed);
      const std::vector<PagedSequences::Span> spans = {{0, 0, 70},  {1, 130, 131}, {2, 37, 90},
                                                       {3, 20, 20}, {4, 0, 1},     {5, 63, 64}};
      for (const DType out : {DType::kF32, DType::kBF16}) {
        const HostTensor actual = sequences.attend(cpu_.get(), spans, out);
        const HostTensor expected = sequences.attend(reference_.get(), spans, out);
        expect_near(actual, expected, 3e-6f, "head_dim " + std::to_string(shape.head_dim));
      }
    }
  }
}

TEST_P(AttentionTest, WindowsChunksCapsAndSinksAgreeWithTheReference) {
  uint32_t seed = 131;
  for (const AttentionShape& shape :
       {AttentionShape{6, 2, 24, 16}, AttentionShape{4, 2, 64, 32}, AttentionShape{5, 5, 80, 48}}) {
    for (const DType cache : {DType::kF32, DType::kBF16, DType::kE4M3}) {
      const PagedSequences sequences(shape, cache, {70, 231, 300, 1, 129}, ++seed);
      const std::vector<PagedSequences::Span> spans = {
          {0, 0, 70}, {1, 230, 231}, {2, 225, 290}, {3, 0, 1}, {4, 120, 129}};
      for (const AttentionRules& rules : rules_of(shape.n_heads)) {
        const HostTensor actual = sequences.attend(cpu_.get(), spans, DType::kF32, rules);
        const HostTensor expected = sequences.attend(reference_.get(), spans, DType::kF32, rules);
        expect_near(actual, expected, 3e-6f,
                    "window " + std::to_string(rules.window) + " chunk " +
                        std::to_string(rules.chunk) + " softcap " + std::to_string(rules.softcap));
      }
    }
  }
}

// The rules by hand: keys are the position's own alone, or share their weight with a sink.
TEST_P(AttentionTest, RulesMeanWhatTheySay) {
  constexpr int64_t kKeys = 5;
  HostTensor q(DType::kF32, {kKeys, 1, 1});  // queries of 0: every score is 0
  HostTensor k(DType::kF32, {1, 1, 16, 1});
  HostTensor v(DType::kF32, {1, 1, 16, 1});
  for (int64_t i = 0; i < kKeys; ++i) v.set(i, static_cast<float>(i));
  const HostTensor table = [] {
    HostTensor t(DType::kI32, {1, 1});
    t.view().as<int32_t>()[0] = 0;
    return t;
  }();
  const HostTensor start = tensor_of<int32_t>({0, kKeys});
  const HostTensor context = tensor_of<int32_t>({kKeys});
  const HostTensor sinks = tensor_of<float>({0});
  for (Backend* backend : {cpu_.get(), reference_.get()}) {
    const auto attend = [&](const AttentionRules& rules) {
      HostTensor out(DType::kF32, {kKeys, 1, 1});
      backend->paged_attention({.q = q.view(),
                                .k_cache = k.view(),
                                .v_cache = v.view(),
                                .block_table = table.view(),
                                .query_start = start.view(),
                                .context_len = context.view(),
                                .out = out.view(),
                                .window = rules.window,
                                .chunk = rules.chunk,
                                .sinks = rules.sinks.empty() ? TensorView() : sinks.view(),
                                .causal = rules.causal},
                               {});
      std::vector<float> values;
      for (int64_t i = 0; i < kKeys; ++i) values.push_back(out.at(i));
      return values;
    };
    EXPECT_EQ(attend({}), (std::vector<float>{0, 0.5f, 1, 1.5f, 2}));
    EXPECT_EQ(attend({.window = 2}), (std::vector<float>{0, 0.5f, 1.5f, 2.5f, 3.5f}));
    EXPECT_EQ(attend({.chunk = 2}), (std::vector<float>{0, 0.5f, 2, 2.5f, 4}));
    EXPECT_EQ(attend({.causal = false}), (std::vector<float>{2, 2, 2, 2, 2}));
    EXPECT_EQ(attend({.sinks = {0}}), (std::vector<float>{0, 1.0f / 3, 0.75f, 1.2f, 10.0f / 6}));
  }
}

TEST_P(AttentionTest, NoQueriesAtAllIsNoWork) {
  const PagedSequences sequences({4, 2, 32, 16}, DType::kF32, {20}, 5);
  EXPECT_EQ(sequences.attend(cpu_.get(), {}, DType::kF32).view().numel(), 0);
  EXPECT_EQ(sequences.attend(cpu_.get(), {{0, 9, 9}}, DType::kF32).view().numel(), 0);
}

TEST_P(AttentionTest, SharpSoftmaxKeepsItsAccuracy) {
  expect_sharp_softmax_agrees({cpu_.get(), reference_.get(), 2e-4f});
}

// A scale is not of the codes: doubling it doubles what keys and values stand for.
TEST_P(AttentionTest, ScalesMeanWhatTheySay) {
  HostTensor q(DType::kF32, {2, 1, 4});
  HostTensor k(DType::kE4M3, {1, 1, 16, 4});
  HostTensor v(DType::kE4M3, {1, 1, 16, 4});
  q.set(4, 1);  // of the second token, channel 0 alone
  k.set(0, 1);  // the first key is 1 there, the second 0
  for (int64_t i = 0; i < 4; ++i) v.set(i, 3);
  HostTensor table(DType::kI32, {1, 1});
  const HostTensor start = tensor_of<int32_t>({0, 2});
  const HostTensor context = tensor_of<int32_t>({2});
  for (Backend* backend : {cpu_.get(), reference_.get()}) {
    HostTensor out(DType::kF32, {2, 1, 4});
    backend->paged_attention({.q = q.view(),
                              .k_cache = k.view(),
                              .v_cache = v.view(),
                              .block_table = table.view(),
                              .query_start = start.view(),
                              .context_len = context.view(),
                              .out = out.view(),
                              .k_scale = 2,
                              .v_scale = 0.5f},
                             {});
    EXPECT_FLOAT_EQ(out.at(0), 1.5f);
    EXPECT_FLOAT_EQ(out.at(4), 1.5f / (1 + std::exp(-2.0f)));
  }
}

// Whatever the scale, what is cached is a number within its range.
TEST_P(AttentionTest, AppendSaturates) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> hard = {448,   449,           464, 465,   1e9f,   kInf,  -kInf,
                                   -1e9f, std::nanf(""), 0,   -0.0f, 1e-30f, -1e-3f};
  const auto n = static_cast<int64_t>(hard.size());
  HostTensor x(DType::kF32, {1, 1, n});
  for (int64_t i = 0; i < n; ++i) x.set(i, hard[static_cast<size_t>(i)]);
  const HostTensor slots = tensor_of<int64_t>({5});
  for (const float scale : {1.0f, 0.25f, 3e-6f, 1e6f}) {
    HostTensor k(DType::kE4M3, {1, 1, 16, n});
    HostTensor v = k.clone();
    HostTensor expected_k = k.clone();
    HostTensor expected_v = k.clone();
    cpu_->kv_append({x.view(), x.view(), slots.view(), k.view(), v.view(), scale, 2 * scale}, {});
    reference_->kv_append(
        {x.view(), x.view(), slots.view(), expected_k.view(), expected_v.view(), scale, 2 * scale},
        {});
    expect_same_bits(k.view(), expected_k.view(), "k");
    expect_same_bits(v.view(), expected_v.view(), "v");
    for (int64_t i = 0; i < 16 * n; ++i) EXPECT_LE(std::abs(k.at(i)), 448) << i;
    EXPECT_EQ(k.at(5 * n + 5), 448);
    EXPECT_EQ(k.at(5 * n + 6), -448);
  }
}

TEST(CacheScales, ThatNoCacheHasDie) {
  const auto cpu = cpu_backend("portable", ComputeDType::kF32);
  HostTensor x(DType::kF32, {1, 1, 4});
  const HostTensor slots = tensor_of<int64_t>({0});
  HostTensor codes(DType::kE4M3, {1, 1, 16, 4});
  HostTensor halves(DType::kBF16, {1, 1, 16, 4});
  for (const float scale : {0.0f, -1.0f, std::nanf(""), 1e-45f}) {
    EXPECT_DEATH(cpu->kv_append(
                     {x.view(), x.view(), slots.view(), codes.view(), codes.view(), 1, scale}, {}),
                 "v_cache has scale");
  }
  EXPECT_DEATH(
      cpu->kv_append({x.view(), x.view(), slots.view(), halves.view(), halves.view(), 2, 1}, {}),
      "k_cache is bf16");
}

INSTANTIATE_TEST_SUITE_P(Isa, AttentionTest, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
