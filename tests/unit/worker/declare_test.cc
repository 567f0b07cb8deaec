// The declare pass: what the families' own code asks for, against the planner's formulas and a list
// written down apart.
#include "worker/models/declare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "parallel/plan/memory_budget.h"
#include "tests/unit/plan/specs.h"
#include "tests/unit/worker/golden.h"

namespace trireme::worker {
namespace {

using plan::ModelSpec;
using plan::ParallelPlan;
using plan::RankPlan;
using plan::TensorSlice;

std::vector<WeightDeclaration> declare(const ModelSpec& spec, const ParallelPlan& plan) {
  auto declared = declare_weights(spec, plan);
  CHECK(declared.ok()) << declared.error().message;
  return std::move(*declared);
}

int64_t n_elements(const WeightPart& part) { return part.n_rows() * part.n_columns(); }

// What a Llama checkpoint must hold, written down apart: name -> {shape, copies per tp group}.
struct Expected {
  std::vector<int64_t> shape;
  int copies = 1;
};
std::map<std::string, Expected> expected_llama(const ModelSpec& spec, int tp, const RankPlan& any) {
  std::map<std::string, Expected> all;
  const int64_t h = spec.hidden, q = int64_t{spec.n_heads} * spec.head_dim;
  const int64_t kv = int64_t{spec.n_kv_heads} * spec.head_dim, m = spec.intermediate;
  const int kv_copies = std::max(1, tp / spec.n_kv_heads);
  if (any.first_stage) all["model.embed_tokens.weight"] = {{spec.vocab, h}};
  for (int64_t layer = any.layers.begin; layer < any.layers.end; ++layer) {
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
    if (spec.qkv_bias) {
      all[p + "self_attn.q_proj.bias"] = {{q}};
      all[p + "self_attn.k_proj.bias"] = {{kv}, kv_copies};
      all[p + "self_attn.v_proj.bias"] = {{kv}, kv_copies};
    }
    if (spec.o_bias) all[p + "self_attn.o_proj.bias"] = {{h}, tp};
    if (spec.mlp_bias) {
      all[p + "mlp.gate_proj.bias"] = {{m}};
      all[p + "mlp.up_proj.bias"] = {{m}};
      all[p + "mlp.down_proj.bias"] = {{h}, tp};
    }
  }
  if (any.last_stage) {
    all["model.norm.weight"] = {{h}, tp};
    all[spec.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"] = {{spec.vocab, h}};
  }
  return all;
}

// How often each element of each tensor is held by the ranks of one stage.
struct Held {
  std::vector<int64_t> shape;
  std::vector<int> counts;
};
std::map<std::string, Held> held_by_stage(const std::vector<WeightDeclaration>& declared, int tp,
                                          int stage) {
  std::map<std::string, Held> held;
  for (int tp_rank = 0; tp_rank < tp; ++tp_rank) {
    std::set<std::tuple<std::string, int64_t, int64_t>> seen;  // a tied head is asked for twice
    for (const DeclaredPart& want : declared[static_cast<size_t>(stage * tp + tp_rank)].parts) {
      const TensorSlice& slice = want.part.slice;
      if (!seen.emplace(slice.name, slice.rows.begin, slice.columns.begin).second) continue;
      Held& tensor = held[slice.name];
      const int64_t width = slice.shape.size() == 1 ? 1 : slice.shape.back();
      int64_t n = 1;
      for (const int64_t extent : slice.shape) n *= extent;
      if (tensor.counts.empty()) tensor = {slice.shape, std::vector<int>(static_cast<size_t>(n))};
      EXPECT_EQ(slice.shape, tensor.shape) << slice.name;
      EXPECT_LE(slice.rows.end * width, n) << slice.name;
      EXPECT_LE(slice.columns.end, width) << slice.name;
      for (int64_t r = slice.rows.begin; r < slice.rows.end; ++r) {
        for (int64_t c = slice.columns.begin; c < slice.columns.end; ++c) {
          ++tensor.counts.at(static_cast<size_t>(r * width + c));
        }
      }
    }
  }
  return held;
}

void expect_llama_stage(const ModelSpec& spec, const ParallelPlan& plan,
                        const std::vector<WeightDeclaration>& declared, int stage) {
  const auto expected =
      expected_llama(spec, plan.tp, plan.ranks[static_cast<size_t>(stage * plan.tp)]);
  const auto held = held_by_stage(declared, plan.tp, stage);
  EXPECT_EQ(held.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    const auto at = held.find(name);
    ASSERT_NE(at, held.end()) << name << " is held by nobody";
    EXPECT_EQ(at->second.shape, tensor.shape) << name;
    EXPECT_TRUE(std::all_of(at->second.counts.begin(), at->second.counts.end(),
                            [&](int n) { return n == tensor.copies; }))
        << name << " of " << plan.to_string();
  }
}

TEST(Declare, EveryElementOfALlamaIsHeldExactlyWhereThePlanSays) {
  std::mt19937 random(20251122);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  int n_plans = 0;
  for (int i = 0; i < 120; ++i) {
    ModelSpec spec = plan::testing::small_spec();
    spec.layers.resize(static_cast<size_t>(pick(1, 9)));
    spec.n_kv_heads = pick(1, 6);
    spec.n_heads = spec.n_kv_heads * pick(1, 6);
    spec.head_dim = 2 * pick(1, 3);
    spec.hidden = pick(1, 24);
    spec.intermediate = pick(1, 50);
    spec.vocab = pick(1, 70);
    spec.tied_embeddings = pick(0, 1) == 1;
    spec.qkv_bias = pick(0, 1) == 1;
    spec.o_bias = pick(0, 1) == 1;
    spec.mlp_bias = pick(0, 1) == 1;
    for (int tp = 1; tp <= 12; ++tp) {
      const int pp = pick(1, spec.n_layers());
      const auto plan = plan::make_parallel_plan(spec, {.tp = tp, .pp = pp});
      if (!plan.ok()) continue;
      ++n_plans;
      const auto declared = declare(spec, *plan);
      for (int stage = 0; stage < pp; ++stage) expect_llama_stage(spec, *plan, declared, stage);
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(n_plans, 150);
}

class Family : public testing::TestWithParam<std::string> {
 protected:
  Family() {
    auto spec = plan::load_model_spec(golden_dir(GetParam()));
    CHECK(spec.ok()) << spec.error().message;
    spec_ = *spec;
  }
  ModelSpec spec_;
};

// Weights asked for as often as the group needs them: once, by every rank, or by each rank that
// shares a key-value head.
TEST_P(Family, EveryElementIsHeldByAnEqualShareOfTheGroup) {
  for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 1}, {4, 1}, {1, 2}, {2, 2}}) {
    for (const auto cut : {plan::ExpertCut::kExpert, plan::ExpertCut::kTensor}) {
      const auto plan = plan::make_parallel_plan(spec_, {.tp = tp, .pp = pp, .experts = cut});
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      const auto declared = declare(spec_, *plan);
      for (int stage = 0; stage < pp; ++stage) {
        for (const auto& [name, tensor] : held_by_stage(declared, tp, stage)) {
          EXPECT_TRUE(std::all_of(tensor.counts.begin(), tensor.counts.end(),
                                  [&, tp = tp](int n) { return n >= 1 && tp % n == 0; }))
              << name << " of " << plan->to_string();
        }
      }
    }
  }
}

TEST_P(Family, ThePlannersCountsAreThoseOfTheFamilysCode) {
  const auto whole = plan::make_parallel_plan(spec_, {});
  const auto declared = declare(spec_, *whole);
  std::set<std::string> names;
  int64_t total = 0;
  int64_t routed = 0;
  for (const DeclaredPart& want : declared[0].parts) {
    const bool tied_head = spec_.tied_embeddings && want.use == WeightUse::kLinear &&
                           want.part.slice.shape == std::vector<int64_t>{spec_.vocab, spec_.hidden};
    if (tied_head) continue;
    total += n_elements(want.part);
    if (want.part.routed) routed += n_elements(want.part);
  }
  EXPECT_EQ(spec_.n_parameters(), total);
  const int64_t embedding = spec_.tied_embeddings ? 0 : int64_t{spec_.vocab} * spec_.hidden;
  const int64_t met = spec_.moe ? routed / spec_.moe->n_experts * spec_.moe->top_k : 0;
  EXPECT_EQ(spec_.n_active_parameters(), total - embedding - routed + met);
}

TEST_P(Family, WeightsOfARankAreThoseThatItsModelAsksFor) {
  for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 1}, {4, 1}, {2, 2}}) {
    for (const auto cut : {plan::ExpertCut::kExpert, plan::ExpertCut::kTensor}) {
      const auto plan = plan::make_parallel_plan(spec_, {.tp = tp, .pp = pp, .experts = cut});
      const auto declared = declare(spec_, *plan);
      for (const RankPlan& rank : plan->ranks) {
        int64_t n = 0;
        for (const DeclaredPart& want : declared[static_cast<size_t>(rank.worker_rank)].parts) {
          n += n_elements(want.part);
        }
        const int64_t padding = (rank.vocab_padded - rank.vocab.size()) * spec_.hidden *
                                (int{rank.first_stage} + int{rank.last_stage});
        EXPECT_EQ(plan::rank_memory(spec_, *plan, rank.worker_rank, {}).weight_bytes,
                  2 * (n + padding))
            << "rank " << rank.worker_rank << " of " << plan->to_string();
      }
    }
  }
}

std::vector<std::string> decoders_and_encoders() {
  std::vector<std::string> models = golden_models();
  models.emplace_back("bert");
  return models;
}

INSTANTIATE_TEST_SUITE_P(Goldens, Family, testing::ValuesIn(decoders_and_encoders()));

// Two key-value heads of two query heads each, stored as q q k v, q q k v.
TEST(Declare, GroupedHeadsAreTakenFromTheirGroups) {
  ModelSpec spec = plan::testing::small_spec();
  spec.family = "falcon";
  spec.norm = plan::NormKind::kLayer;
  spec.norm_bias = true;
  spec.gated_mlp = false;
  const auto rows_of = [&](int tp, size_t rank) {
    const auto plan = plan::make_parallel_plan(spec, {.tp = tp});
    const auto declared = declare(spec, *plan);
    std::vector<int64_t> heads;
    for (const DeclaredPart& want : declared[rank].parts) {
      const TensorSlice& slice = want.part.slice;
      if (slice.name != "transformer.h.0.self_attention.query_key_value.weight") continue;
      EXPECT_EQ(slice.rows.size(), spec.head_dim);
      heads.push_back(slice.rows.begin / spec.head_dim);
    }
    return heads;
  };
  EXPECT_THAT(rows_of(1, 0), testing::ElementsAre(0, 1, 4, 5, 2, 6, 3, 7));
  EXPECT_THAT(rows_of(2, 1), testing::ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(rows_of(4, 1), testing::ElementsAre(1, 2, 3));  // shares its key-value head
}

TEST(Declare, AFamilyThatIsNotThereIsNamed) {
  ModelSpec spec = plan::testing::small_spec();
  spec.family = "abacus";
  const auto plan = plan::make_parallel_plan(spec, {});
  const auto declared = declare_weights(spec, *plan);
  ASSERT_FALSE(declared.ok());
  EXPECT_EQ(declared.error().code, ErrorCode::kUnimplemented);
  EXPECT_THAT(declared.error().message, testing::HasSubstr("abacus"));
}

}  // namespace
}  // namespace trireme::worker
