#include "parallel/plan/parallel_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

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

// What the checkpoint must hold, written down apart from the plan: name -> {shape, copies per tp
// group}.
struct Expected {
  std::vector<int64_t> shape;
  int copies = 1;
};
std::map<std::string, Expected> expected_tensors(const ModelSpec& spec, int tp, int64_t first_layer,
                                                 int64_t end_layer, bool first, bool last) {
  std::map<std::string, Expected> all;
  const int64_t h = spec.hidden, q = int64_t{spec.n_heads} * spec.head_dim;
  const int64_t kv = int64_t{spec.n_kv_heads} * spec.head_dim, m = spec.intermediate;
  const int kv_copies = std::max(1, tp / spec.n_kv_heads);
  if (first) all["model.embed_tokens.weight"] = {{spec.vocab, h}};
  for (int64_t layer = first_layer; layer < end_layer; ++layer) {
    const std::string p = "model.layers." + std::to_string(layer) + ".";
    all[p + "input_layernorm.weight"] = {{h}, tp};
    all[p + "post_attention_layernorm.weight"] = {{h}, tp};
    all[p + "self_attn.q_proj.weight"] = {{q, h}};
    all[p + "self_attn.k_proj.weight"] = {{kv, h}, kv_copies};
    all[p + "self_attn.v_proj.weight"] = {{kv, h}, kv_copies};
    all[p + "self_attn.o_proj.weight"] = {{h, q}};
    all[p + "mlp.gate_proj.weight"] = {{m, h}};
    all[p + "mlp.up_proj.weight"] = {{m, h}};
    all[p + "mlp.down_proj.weight"] = {{h, m}};
    if (spec.attention_bias) {
      all[p + "self_attn.q_proj.bias"] = {{q}};
      all[p + "self_attn.k_proj.bias"] = {{kv}, kv_copies};
      all[p + "self_attn.v_proj.bias"] = {{kv}, kv_copies};
      all[p + "self_attn.o_proj.bias"] = {{h}, tp};
    }
    if (spec.mlp_bias) {
      all[p + "mlp.gate_proj.bias"] = {{m}};
      all[p + "mlp.up_proj.bias"] = {{m}};
      all[p + "mlp.down_proj.bias"] = {{h}, tp};
    }
  }
  if (last) {
    all["model.norm.weight"] = {{h}, tp};
    all[spec.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"] = {{spec.vocab, h}};
  }
  return all;
}

// How often each element of each tensor is held by the ranks of one stage.
void expect_stage_holds_exactly(const ModelSpec& spec, const ParallelPlan& plan, int stage) {
  const RankPlan& any = plan.ranks[static_cast<size_t>(stage * plan.tp)];
  const std::map<std::string, Expected> expected = expected_tensors(
      spec, plan.tp, any.layers.begin, any.layers.end, any.first_stage, any.last_stage);
  std::map<std::string, std::vector<int>> held;
  for (int tp_rank = 0; tp_rank < plan.tp; ++tp_rank) {
    std::set<std::string> names;
    for (const TensorSlice& slice : plan.tensor_slices(spec, stage * plan.tp + tp_rank)) {
      EXPECT_TRUE(names.insert(slice.name).second) << slice.name << " is listed twice";
      const auto it = expected.find(slice.name);
      ASSERT_NE(it, expected.end()) << slice.name << " is not of this stage";
      EXPECT_EQ(slice.shape, it->second.shape) << slice.name;
      const int64_t width = slice.shape.size() == 2 ? slice.shape[1] : 1;
      ASSERT_LE(slice.rows.end, slice.shape[0]) << slice.name;
      ASSERT_LE(slice.columns.end, width) << slice.name;
      std::vector<int>& counts = held[slice.name];
      counts.resize(static_cast<size_t>(slice.shape[0] * width));
      for (int64_t r = slice.rows.begin; r < slice.rows.end; ++r) {
        for (int64_t c = slice.columns.begin; c < slice.columns.end; ++c) {
          ++counts[static_cast<size_t>(r * width + c)];
        }
      }
    }
  }
  for (const auto& [name, tensor] : expected) {
    const std::vector<int>& counts = held[name];
    ASSERT_FALSE(counts.empty()) << name << " is held by nobody";
    EXPECT_TRUE(
        std::all_of(counts.begin(), counts.end(), [&](int n) { return n == tensor.copies; }))
        << name << " of " << plan.to_string();
  }
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

TEST(ParallelPlan, EveryElementOfEveryWeightIsHeldExactlyWhereThePlanSays) {
  std::mt19937 random(20251122);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  int n_plans = 0;
  for (int i = 0; i < 400; ++i) {
    ModelSpec spec = small_spec();
    spec.n_layers = pick(1, 9);
    spec.n_kv_heads = pick(1, 6);
    spec.n_heads = spec.n_kv_heads * pick(1, 6);
    spec.head_dim = 2 * pick(1, 3);
    spec.hidden = pick(1, 24);
    spec.intermediate = pick(1, 50);
    spec.vocab = pick(1, 70);
    spec.tied_embeddings = pick(0, 1) == 1;
    spec.attention_bias = pick(0, 1) == 1;
    spec.mlp_bias = pick(0, 1) == 1;
    for (int tp = 1; tp <= 12; ++tp) {
      const int pp = pick(1, spec.n_layers);
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
        expect_stage_holds_exactly(spec, *plan, stage);
        if (HasFatalFailure()) return;
      }
      EXPECT_EQ(next_layer, spec.n_layers);
    }
  }
  EXPECT_GT(n_plans, 500);
}

TEST(ParallelPlan, WeightsOfOneRankAreTheWholeModel) {
  for (const char* name : {"llama-3.1-8b", "llama-3.2-1b", "llama-2-7b"}) {
    const ModelSpec spec = golden_spec(name);
    const Result<ParallelPlan> plan = make_parallel_plan(spec, {});
    ASSERT_TRUE(plan.ok());
    int64_t n = 0;
    for (const TensorSlice& slice : plan->tensor_slices(spec, 0)) {
      n += slice.rows.size() * slice.columns.size();
    }
    EXPECT_EQ(n, spec.n_parameters()) << name;
  }
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
    for (int a = 1; a < spec.n_layers - 1; ++a) {
      for (int b = 1; a + b < spec.n_layers; ++b) {
        ASSERT_LE(chosen, cost({a, b, spec.n_layers - a - b}) * (1 + 1e-12)) << name;
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
