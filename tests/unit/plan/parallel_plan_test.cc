#include "parallel/plan/parallel_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using ::testing::ElementsAre;
using testing::golden_spec;
using ::testing::HasSubstr;
using testing::small_spec;

std::vector<int64_t> layers_of(const ParallelPlan& plan) {
  std::vector<int64_t> layers;
  for (int stage = 0; stage < plan.pp; ++stage) {
    layers.push_back(plan.ranks[static_cast<size_t>(stage * plan.tp)].layers.size());
  }
  return layers;
}

void expect_ranks_can_compute(const ModelSpec& spec, const ParallelPlan& plan) {
  const int group = spec.n_heads / spec.n_kv_heads;
  int64_t narrowest = spec.intermediate, widest = 0;
  for (const RankPlan& rank : plan.ranks) {
    EXPECT_EQ(rank.heads.size(), spec.n_heads / plan.tp);
    for (int64_t head = rank.heads.begin; head < rank.heads.end; ++head) {
      EXPECT_GE(head / group, rank.kv_heads.begin);
      EXPECT_LT(head / group, rank.kv_heads.end);
    }
    EXPECT_EQ(rank.heads.size() % rank.kv_heads.size(), 0);
    EXPECT_LE(rank.vocab.size(), rank.vocab_padded);
    EXPECT_EQ(rank.vocab_padded, plan.ranks[0].vocab_padded);
    narrowest = std::min(narrowest, rank.intermediate.size());
    widest = std::max(widest, rank.intermediate.size());
  }
  EXPECT_LE(widest - narrowest, spec.intermediate % plan.tp == 0 ? 0 : 1);
}

TEST(ParallelPlan, EveryRankCanComputeWhatItHolds) {
  std::mt19937 random(20251122);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  int n_plans = 0;
  for (int i = 0; i < 400; ++i) {
    ModelSpec spec = small_spec();
    spec.layers.resize(static_cast<size_t>(pick(1, 9)));
    spec.n_kv_heads = pick(1, 6);
    spec.n_heads = spec.n_kv_heads * pick(1, 6);
    spec.intermediate = pick(1, 50);
    spec.vocab = pick(1, 70);
    for (int tp = 1; tp <= 12; ++tp) {
      const int pp = pick(1, spec.n_layers());
      const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = tp, .pp = pp});
      if (!plan.ok()) {
        EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
        continue;
      }
      ++n_plans;
      ASSERT_EQ(plan->ranks.size(), static_cast<size_t>(tp * pp));
      expect_ranks_can_compute(spec, *plan);
      int64_t next_layer = 0;
      for (int stage = 0; stage < pp; ++stage) {
        const RankPlan& rank = plan->ranks[static_cast<size_t>(stage * tp)];
        EXPECT_EQ(rank.layers.begin, next_layer);
        EXPECT_GE(rank.layers.size(), 1);
        next_layer = rank.layers.end;
      }
      EXPECT_EQ(next_layer, spec.n_layers());
    }
  }
  EXPECT_GT(n_plans, 500);
}

// A model of `n_experts` experts in every layer but the first.
ModelSpec moe_spec(int n_experts) {
  ModelSpec spec = small_spec();
  spec.moe = MoeSpec{.n_experts = n_experts, .top_k = 2, .width = 6, .shared_width = 10};
  for (size_t i = 1; i < spec.layers.size(); ++i) spec.layers[i].moe = true;
  return spec;
}

TEST(ParallelPlan, ExpertsAreDealtWholeOrEachIsCut) {
  const ModelSpec spec = moe_spec(7);
  const auto dealt = make_parallel_plan(spec, {.tp = 4});
  ASSERT_TRUE(dealt.ok()) << dealt.error().message;
  EXPECT_EQ(dealt->ranks[0].experts, (Range{0, 2}));
  EXPECT_EQ(dealt->ranks[3].experts, (Range{6, 7}));
  EXPECT_EQ(dealt->ranks[3].expert_columns, (Range{0, 6}));
  EXPECT_EQ(dealt->ranks[1].shared_columns, (Range{3, 6}));
  const auto cut = make_parallel_plan(spec, {.tp = 4, .experts = ExpertCut::kTensor});
  ASSERT_TRUE(cut.ok()) << cut.error().message;
  EXPECT_EQ(cut->ranks[3].experts, (Range{0, 7}));
  EXPECT_EQ(cut->ranks[3].expert_columns, (Range{5, 6}));
  EXPECT_THAT(make_parallel_plan(moe_spec(3), {.tp = 4}).error().message, HasSubstr("3 experts"));
  ModelSpec narrow = moe_spec(8);
  narrow.moe->width = 2;
  EXPECT_THAT(make_parallel_plan(narrow, {.tp = 4, .experts = ExpertCut::kTensor}).error().message,
              HasSubstr("2 wide"));
}

TEST(ParallelPlan, StagesWeighEachLayerByWhatATokenMeetsInIt) {
  ModelSpec spec = moe_spec(8);
  spec.vocab = 33;
  spec.intermediate = 400;  // the first layer costs as much as many of the others
  const auto plan = make_parallel_plan(spec, {.pp = 2});
  EXPECT_THAT(layers_of(*plan), ElementsAre(1, 3));
}

TEST(ParallelPlan, LatentAttentionLetsTpBeAnyDivisorOfItsHeads) {
  ModelSpec spec = small_spec();
  spec.n_heads = spec.n_kv_heads = 6;
  spec.mla = MlaSpec{.kv_rank = 8, .nope_dim = 4, .rope_dim = 2, .value_dim = 4};
  const auto plan = make_parallel_plan(spec, {.tp = 3});
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->ranks[2].heads, (Range{4, 6}));
  EXPECT_FALSE(make_parallel_plan(spec, {.tp = 4}).ok());
}

TEST(ParallelPlan, KvHeadsAreReplicatedWhereTpIsWider) {
  ModelSpec spec = small_spec();
  spec.n_heads = 8;
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 8});
  ASSERT_TRUE(plan.ok());
  for (const RankPlan& rank : plan->ranks) {
    EXPECT_EQ(rank.kv_heads, (Range{rank.tp_rank / 4, rank.tp_rank / 4 + 1}));
  }
}

TEST(ParallelPlan, TheVocabularyIsPaddedToEqualSlices) {
  ModelSpec spec = small_spec();  // 33 entries
  spec.n_heads = spec.n_kv_heads = 8;
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 8});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->ranks[0].vocab_padded, 5);
  EXPECT_EQ(plan->ranks[6].vocab, (Range{30, 33}));
  EXPECT_EQ(plan->ranks[7].vocab, (Range{33, 33}));
}

TEST(ParallelPlan, StagesAreWeightedByCostAndTheHeadCounts) {
  // Llama-3.2-1B's head weighs 4.3 layers.
  Result<ParallelPlan> plan = make_parallel_plan(golden_spec("llama-3.2-1b"), {.pp = 2});
  EXPECT_THAT(layers_of(*plan), ElementsAre(10, 6));
  EXPECT_EQ(plan->to_string(), "tp 1 x pp 2 (layers 10 + 6)");
  // 405B's weighs 0.7 of one.
  plan = make_parallel_plan(golden_spec("llama-3.1-405b"), {.tp = 8, .pp = 2});
  EXPECT_THAT(layers_of(*plan), ElementsAre(63, 63));
  plan = make_parallel_plan(golden_spec("llama-3.1-405b"), {.tp = 8, .pp = 4});
  EXPECT_THAT(layers_of(*plan), ElementsAre(31, 32, 32, 31));
  // A head beyond everything still leaves each stage a layer.
  ModelSpec heavy = small_spec();
  heavy.vocab = 100'000;
  EXPECT_THAT(layers_of(*make_parallel_plan(heavy, {.pp = 4})), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(layers_of(*make_parallel_plan(heavy, {.pp = 3})), ElementsAre(1, 2, 1));
}

TEST(ParallelPlan, NoOtherCutHasACheaperCostliestStage) {
  for (const char* name : {"llama-3.1-8b", "llama-3.2-1b", "llama-3.1-70b"}) {
    const ModelSpec spec = golden_spec(name);
    const double layer =
        static_cast<double>(spec.hidden) *
        (2.0 * (spec.n_heads + spec.n_kv_heads) * spec.head_dim + 3.0 * spec.intermediate);
    const double head = static_cast<double>(spec.vocab) * spec.hidden;
    const auto cost = [&](const std::vector<int64_t>& layers) {
      double worst = 0;
      for (size_t i = 0; i < layers.size(); ++i) {
        const double stage = static_cast<double>(layers[i]) * layer;
        worst = std::max(worst, stage + (i + 1 == layers.size() ? head : 0));
      }
      return worst;
    };
    const double chosen = cost(layers_of(*make_parallel_plan(spec, {.pp = 3})));
    for (int a = 1; a < spec.n_layers() - 1; ++a) {
      for (int b = 1; a + b < spec.n_layers(); ++b) {
        ASSERT_LE(chosen, cost({a, b, spec.n_layers() - a - b}) * (1 + 1e-12)) << name;
      }
    }
  }
}

TEST(ParallelPlan, ExplicitStagesAreValidated) {
  const ModelSpec spec = small_spec();
  const auto with = [&](std::vector<int> stages) {
    return make_parallel_plan(spec, {.pp = 2, .stage_layers = std::move(stages)});
  };
  EXPECT_THAT(layers_of(*with({3, 1})), ElementsAre(3, 1));
  EXPECT_THAT(with({4}).error().message, HasSubstr("entries"));
  EXPECT_THAT(with({4, 0}).error().message, HasSubstr("stage of 0 layers"));
  EXPECT_THAT(with({4, 1}).error().message, HasSubstr("add up to 5"));
  EXPECT_THAT(with({INT32_MAX, INT32_MAX}).error().message, HasSubstr("add up to"));
}

TEST(ParallelPlan, ACutThatTheShapesForbidSaysWhichWouldFit) {
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  const Error error = make_parallel_plan(spec, {.tp = 3}).error();
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("32 attention heads"));
  EXPECT_THAT(error.message, HasSubstr("1, 2, 4, 8, 16, 32"));
  ModelSpec odd = small_spec();
  odd.n_heads = 12;
  odd.n_kv_heads = 4;
  EXPECT_THAT(make_parallel_plan(odd, {.tp = 3}).error().message, HasSubstr("key-value heads"));
  for (const int tp : {0, -1, 1 << 20}) {
    EXPECT_FALSE(make_parallel_plan(spec, {.tp = tp}).ok());
  }
  for (const int pp : {0, -1, 33}) {
    EXPECT_THAT(make_parallel_plan(spec, {.pp = pp}).error().message, HasSubstr("32 layers"));
  }
}

}  // namespace
}  // namespace trireme::plan
