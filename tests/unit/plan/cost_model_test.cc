#include "parallel/plan/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using testing::golden_spec;
using ::testing::HasSubstr;

Topology topology(std::string_view gpu, int nodes, int per_node) {
  Topology t;
  t.n_nodes = nodes;
  t.devices_per_node = per_node;
  t.device = *find_device_kind(gpu);
  return t;
}

TEST(Topology, AnUnknownDeviceListsTheKnownOnes) {
  EXPECT_EQ(find_device_kind("H200")->memory_bytes, 141'000'000'000);
  const Error error = find_device_kind("h900").error();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_THAT(error.message, HasSubstr("h200"));
  EXPECT_THAT(error.message, HasSubstr("cpu"));
}

TEST(CostModel, OneStreamOnOneDeviceIsTheWeightsReadOnce) {
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {});
  const Topology one = topology("h200", 1, 1);
  Workload workload;
  workload.context_tokens = 16;
  const Result<PlanEstimate> estimate = estimate_plan(spec, *plan, one, workload);
  ASSERT_TRUE(estimate.ok()) << estimate.error().message;
  // All weights but the embedding's table, whose one row is looked up.
  const double bytes = 2.0 * (8'030'261'248.0 - 128256.0 * 4096.0);
  const double floor_s = bytes / (4.8e12 * kBandwidthShare) + kStageOverheadS;
  EXPECT_NEAR(estimate->one_stream_token_s, floor_s, 0.01 * floor_s);
  EXPECT_EQ(estimate->decode_bubble, 0);
  EXPECT_EQ(estimate->prefill_bubble, 0);
  EXPECT_FALSE(estimate->usd_per_million_tokens.has_value());
}

TEST(CostModel, PrefillOfOneDeviceIsTheFlopsOfThePrompt) {
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {});
  Workload workload;
  workload.prompt_tokens = 2048;
  const Result<PlanEstimate> estimate =
      estimate_plan(spec, *plan, topology("h100", 1, 1), workload);
  ASSERT_TRUE(estimate.ok());
  const double layers = 8'030'261'248.0 - 2 * 128256.0 * 4096.0;
  const double floor_s = 2 * layers * 2048 / (989e12 * kFlopsShare);
  EXPECT_GT(estimate->time_to_first_token_s, floor_s);
  EXPECT_LT(estimate->time_to_first_token_s, 1.1 * floor_s);
}

TEST(CostModel, MoneyIsThePriceOfTheWholeTopologyOverItsTokens) {
  const ModelSpec spec = golden_spec("llama-3.1-70b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 4});
  Workload workload;
  workload.usd_per_device_hour = 3.0;
  const Result<PlanEstimate> estimate =
      estimate_plan(spec, *plan, topology("h200", 2, 8), workload);
  ASSERT_TRUE(estimate.ok());
  EXPECT_EQ(estimate->n_replicas, 4);
  EXPECT_NEAR(*estimate->usd_per_million_tokens, 3.0 * 16 / 3600 / estimate->tokens_per_s * 1e6,
              1e-9);
}

TEST(CostModel, AFiveHundredGigabyteModelNeedsTwoNodesAndSaysWhatWouldFitOne) {
  const ModelSpec spec = golden_spec("llama-3.1-405b");
  const Result<std::vector<PlanEstimate>> one = rank_plans(spec, topology("h100", 1, 8), {});
  ASSERT_FALSE(one.ok());
  EXPECT_EQ(one.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(one.error().message, HasSubstr("would fit"));
  const Result<std::vector<PlanEstimate>> two = rank_plans(spec, topology("h100", 2, 8), {});
  ASSERT_TRUE(two.ok()) << two.error().message;
  const PlanEstimate& best = two->front();
  EXPECT_EQ(best.plan.tp, 8);
  EXPECT_EQ(best.plan.pp, 2);
  EXPECT_NEAR(best.prefill_bubble, 0.5, 1e-9);  // one chunk through two stages
  EXPECT_GE(best.decode_bubble, 0);
  EXPECT_LT(best.decode_bubble, 0.05);
}

TEST(CostModel, PlansAreRankedAndPossible) {
  const ModelSpec spec = golden_spec("llama-3.1-70b");
  const Topology t = topology("h200", 2, 8);
  const Result<std::vector<PlanEstimate>> plans = rank_plans(spec, t, {});
  ASSERT_TRUE(plans.ok());
  EXPECT_GT(plans->size(), 4u);
  double last = 1e30;
  for (const PlanEstimate& estimate : *plans) {
    EXPECT_LE(estimate.tokens_per_s, last);
    last = estimate.tokens_per_s;
    EXPECT_LE(estimate.plan.tp, t.devices_per_node);
    EXPECT_LE(estimate.plan.tp * estimate.plan.pp * estimate.n_replicas, t.n_devices());
    EXPECT_GE(estimate.n_sequences, 1);
    EXPECT_GE(estimate.full_batch_token_s, 0.999 * estimate.one_stream_token_s);
    EXPECT_GE(estimate.decode_bubble, -1e-9);
    EXPECT_LT(estimate.decode_bubble, 1);
    EXPECT_GE(estimate.kv_tokens, 8192);
  }
}

TEST(CostModel, ExpertsAreSlicedWhereThatFitsBetter) {
  // One stream meets few experts: of 8 whole ones most ranks would hold none of the two.
  const ModelSpec mixtral = golden_spec("mixtral-8x7b");
  const Topology node = topology("h200", 1, 8);
  const auto estimate_of = [&](const ModelSpec& spec, int tp, ExpertCut cut) {
    const auto plan = make_parallel_plan(spec, {.tp = tp, .experts = cut});
    EXPECT_TRUE(plan.ok()) << plan.error().message;
    return *estimate_plan(spec, *plan, node, {});
  };
  EXPECT_LT(estimate_of(mixtral, 8, ExpertCut::kTensor).one_stream_token_s,
            estimate_of(mixtral, 8, ExpertCut::kExpert).one_stream_token_s);
  // 8 does not divide the 60 experts: the widest rank holds more than its part of them.
  ModelSpec sixty = mixtral;
  sixty.moe->n_experts = 60;
  EXPECT_LT(estimate_of(sixty, 8, ExpertCut::kTensor).largest_rank.weight_bytes,
            estimate_of(sixty, 8, ExpertCut::kExpert).largest_rank.weight_bytes);
  // On one rank there is nothing to choose.
  const auto one = make_parallel_plan(mixtral, {.experts = ExpertCut::kTensor});
  EXPECT_EQ(one->experts, ExpertCut::kExpert);
  EXPECT_EQ(expert_cuts(golden_spec("llama-3.1-8b"), 8).size(), 1u);
}

TEST(CostModel, EachPlanHasTheBetterCutOfItsExperts) {
  for (const char* name : {"mixtral-8x7b", "qwen3-235b-a22b", "gpt-oss-120b"}) {
    const ModelSpec spec = golden_spec(name);
    const Topology t = topology("h200", 2, 8);
    const auto plans = rank_plans(spec, t, {});
    ASSERT_TRUE(plans.ok()) << plans.error().message;
    std::set<std::pair<int, int>> seen;
    for (const PlanEstimate& best : *plans) {
      EXPECT_TRUE(seen.emplace(best.plan.tp, best.plan.pp).second) << "a plan twice";
      for (const ExpertCut cut : expert_cuts(spec, best.plan.tp)) {
        const auto other =
            make_parallel_plan(spec, {.tp = best.plan.tp, .pp = best.plan.pp, .experts = cut});
        if (!other.ok()) continue;
        const auto estimate = estimate_plan(spec, *other, t, {});
        if (!estimate.ok()) continue;
        EXPECT_GE(best.tokens_per_s, estimate->tokens_per_s) << name;
      }
    }
  }
  // More ranks than experts: only slices are left.
  const auto wide = rank_plans(golden_spec("mixtral-8x7b"), topology("h200", 1, 16), {});
  ASSERT_TRUE(wide.ok());
  const auto tp16 = std::find_if(wide->begin(), wide->end(),
                                 [](const PlanEstimate& e) { return e.plan.tp == 16; });
  ASSERT_NE(tp16, wide->end());
  EXPECT_EQ(tp16->plan.experts, ExpertCut::kTensor);
  EXPECT_EQ(tp16->plan.to_string(), "tp 16 x pp 1 (layers 32, experts sliced)");
}

TEST(CostModel, MoreBandwidthIsNeverSlower) {
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 2});
  Topology slow = topology("h100", 1, 2);
  Topology fast = slow;
  fast.device.memory_bytes_per_s *= 2;
  EXPECT_LT(estimate_plan(spec, *plan, fast, {})->full_batch_token_s,
            estimate_plan(spec, *plan, slow, {})->full_batch_token_s);
}

}  // namespace
}  // namespace trireme::plan
