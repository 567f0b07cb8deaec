// The ops of mixture-of-experts layers: each against the reference, a whole layer against its
// definition, and rows that do not know their batch.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int32_t kUntouched = -77;

HostTensor integers(std::initializer_list<int64_t> shape) {
  HostTensor t(DType::kI32, shape);
  std::fill_n(t.view().as<int32_t>(), t.view().numel(), kUntouched);
  return t;
}

struct Routing {
  HostTensor ids;
  HostTensor weights;
};

Routing route(Backend* backend, MoeRouteArgs args, int64_t top_k) {
  const int64_t n = args.logits.dim(0);
  Routing routing{integers({n, top_k}), HostTensor(DType::kF32, {n, top_k})};
  args.expert_ids = routing.ids.view();
  args.weights = routing.weights.view();
  backend->moe_route(args, {});
  return routing;
}

std::vector<int32_t> ids_of(const HostTensor& t) {
  return {t.view().as<int32_t>(), t.view().as<int32_t>() + t.view().numel()};
}

class MoeTest : public EachIsa {};

struct RouteCase {
  int64_t n_experts;
  int64_t top_k;
  ExpertScoring scoring;
  GroupScore group_score;
  int32_t n_groups;
  int32_t n_chosen_groups;
  bool bias;
  bool renormalize;
};

constexpr RouteCase kRouteCases[] = {
    {8, 2, ExpertScoring::kSoftmax, GroupScore::kNone, 1, 1, false, true},            // Mixtral
    {60, 4, ExpertScoring::kSoftmax, GroupScore::kNone, 1, 1, false, false},          // Qwen2-MoE
    {33, 4, ExpertScoring::kSoftmaxOfChosen, GroupScore::kNone, 1, 1, false, false},  // gpt-oss
    {16, 1, ExpertScoring::kSigmoid, GroupScore::kNone, 1, 1, false, false},          // Llama 4
    {160, 6, ExpertScoring::kSoftmax, GroupScore::kMax, 8, 3, false, false},          // DeepSeek-V2
    {256, 8, ExpertScoring::kSigmoid, GroupScore::kTopTwoSum, 8, 4, true, true},      // DeepSeek-V3
    {12, 12, ExpertScoring::kSoftmax, GroupScore::kNone, 1, 1, true, true},
    {1, 1, ExpertScoring::kSoftmax, GroupScore::kNone, 1, 1, false, true}};

TEST_P(MoeTest, RoutesAsTheReference) {
  Random random(201);
  for (const RouteCase& c : kRouteCases) {
    for (const int64_t n_tokens : {0, 1, 7, 90}) {
      const HostTensor wide = random.tensor(DType::kF32, {n_tokens, c.n_experts + 3}, 2);
      const HostTensor bias = random.tensor(DType::kF32, {c.n_experts}, 0.3f);
      const MoeRouteArgs args{.logits = wide.view().columns(2, 2 + c.n_experts),
                              .choice_bias = c.bias ? bias.view() : TensorView(),
                              .scoring = c.scoring,
                              .group_score = c.group_score,
                              .n_groups = c.n_groups,
                              .n_chosen_groups = c.n_chosen_groups,
                              .renormalize = c.renormalize,
                              .weight_scale = 2.5f};
      const Routing actual = route(cpu_.get(), args, c.top_k);
      const Routing expected = route(reference_.get(), args, c.top_k);
      EXPECT_EQ(ids_of(actual.ids), ids_of(expected.ids)) << c.n_experts << " experts";
      expect_near(actual.weights, expected.weights, 1e-6f, std::to_string(c.n_experts));
    }
  }
}

TEST_P(MoeTest, RoutesAKnownToken) {
  HostTensor logits(DType::kF32, {1, 4});
  for (const auto& [e, p] : {std::pair{0, 0.1f}, {1, 0.4f}, {2, 0.2f}, {3, 0.3f}}) {
    logits.set(e, std::log(p));
  }
  const HostTensor bias = tensor_of<float>({0.5f, 0, 0, 0});
  for (Backend* backend : {cpu_.get(), reference_.get()}) {
    MoeRouteArgs args{.logits = logits.view()};
    Routing r = route(backend, args, 2);
    EXPECT_EQ(ids_of(r.ids), (std::vector<int32_t>{1, 3}));
    EXPECT_NEAR(r.weights.at(0), 0.4, 1e-6);
    args.renormalize = true;
    r = route(backend, args, 2);
    EXPECT_NEAR(r.weights.at(0), 4.0 / 7, 1e-6);
    args.choice_bias = bias.view();  // chooses, and stays out of the weights
    r = route(backend, args, 2);
    EXPECT_EQ(ids_of(r.ids), (std::vector<int32_t>{0, 1}));
    EXPECT_NEAR(r.weights.at(0), 0.2, 1e-6);
    args.choice_bias = {};
    args.group_score = GroupScore::kTopTwoSum;  // groups {0, 1} and {2, 3}: 0.5 and 0.5
    args.n_groups = 2;
    logits.set(0, std::log(0.11f));
    r = route(backend, args, 2);
    EXPECT_EQ(ids_of(r.ids), (std::vector<int32_t>{1, 0}));
    logits.set(0, std::log(0.1f));
    args.group_score = GroupScore::kMax;
    logits.set(3, std::log(0.45f));
    r = route(backend, args, 2);
    EXPECT_EQ(ids_of(r.ids), (std::vector<int32_t>{3, 2}));
    logits.set(3, std::log(0.3f));
  }
}

TEST_P(MoeTest, AmongEqualsTheLowerIdComesFirst) {
  HostTensor logits(DType::kF32, {1, 40});
  logits.set(20, 1);
  for (Backend* backend : {cpu_.get(), reference_.get()}) {
    for (const GroupScore groups : {GroupScore::kNone, GroupScore::kMax, GroupScore::kTopTwoSum}) {
      const Routing r = route(
          backend,
          {.logits = logits.view(), .group_score = groups, .n_groups = 4, .n_chosen_groups = 2}, 4);
      EXPECT_EQ(ids_of(r.ids), (std::vector<int32_t>{20, 0, 1, 2}));
    }
  }
}

// Logits at which sigmoids are all one: the order is still that of the logits.
TEST_P(MoeTest, SaturatedScoresKeepTheirOrder) {
  const HostTensor flat = tensor_of<float>({30, 32, 31, -5});
  const TensorView logits(flat.view().data, DType::kF32, {1, 4});
  const Routing r = route(cpu_.get(), {.logits = logits, .scoring = ExpertScoring::kSigmoid}, 2);
  EXPECT_EQ(ids_of(r.ids), (std::vector<int32_t>{1, 2}));
}

struct Dispatch {
  HostTensor token_of_row;
  HostTensor expert_start;
  HostTensor row_of_choice;
};

Dispatch dispatch(Backend* backend, const HostTensor& ids, int32_t first, int32_t n_local) {
  const int64_t n = ids.view().dim(0);
  const int64_t top_k = ids.view().dim(1);
  Dispatch d{integers({n * top_k}), integers({n_local + 1}), integers({n, top_k})};
  backend->moe_dispatch({.expert_ids = ids.view(),
                         .first_expert = first,
                         .n_local_experts = n_local,
                         .token_of_row = d.token_of_row.view(),
                         .expert_start = d.expert_start.view(),
                         .row_of_choice = d.row_of_choice.view()},
                        {});
  return d;
}

HostTensor distinct_choices(Random* random, int64_t n_tokens, int32_t n_experts, int64_t top_k) {
  HostTensor ids = integers({n_tokens, top_k});
  std::vector<int32_t> all(static_cast<size_t>(n_experts));
  std::iota(all.begin(), all.end(), 0);
  for (int64_t t = 0; t < n_tokens; ++t) {
    std::shuffle(all.begin(), all.end(), random->engine());
    std::copy_n(all.begin(), top_k, ids.view().row<int32_t>(t));
  }
  return ids;
}

TEST_P(MoeTest, DispatchSortsChoicesByExpertThenToken) {
  Random random(202);
  for (const int64_t n_tokens : {0, 1, 9, 100}) {
    const HostTensor ids = distinct_choices(&random, n_tokens, 12, 3);
    for (const auto& [first, n_local] : {std::pair{0, 12}, {4, 5}, {11, 1}, {0, 0}}) {
      const Dispatch actual = dispatch(cpu_.get(), ids, first, n_local);
      const Dispatch expected = dispatch(reference_.get(), ids, first, n_local);
      EXPECT_EQ(ids_of(actual.token_of_row), ids_of(expected.token_of_row));
      EXPECT_EQ(ids_of(actual.expert_start), ids_of(expected.expert_start));
      EXPECT_EQ(ids_of(actual.row_of_choice), ids_of(expected.row_of_choice));
    }
  }
  HostTensor ids = integers({2, 2});
  for (int i = 0; i < 4; ++i) ids.view().as<int32_t>()[i] = std::array{7, 5, 5, 6}[i];
  const Dispatch d = dispatch(cpu_.get(), ids, 5, 2);  // expert 7 is another rank's
  EXPECT_EQ(ids_of(d.expert_start), (std::vector<int32_t>{0, 2, 3}));
  EXPECT_EQ(ids_of(d.token_of_row), (std::vector<int32_t>{0, 1, 1, kUntouched}));
  EXPECT_EQ(ids_of(d.row_of_choice), (std::vector<int32_t>{-1, 0, 1, 2}));
}

TEST_P(MoeTest, GatherAndCombine) {
  Random random(203);
  for (const int64_t hidden : {1, 17, 64, 200}) {
    const HostTensor ids = distinct_choices(&random, 9, 8, 3);
    const Dispatch d = dispatch(cpu_.get(), ids, 2, 4);
    const HostTensor weights = random.tensor(DType::kF32, {9, 3});
    for (const TensorView& w : {weights.view(), TensorView()}) {
      for (const DType in : {DType::kF32, DType::kBF16}) {
        for (const DType out : {DType::kF32, DType::kBF16}) {
          const HostTensor wide = random.tensor(in, {9, hidden + 2});
          HostTensor actual = random.tensor(out, {27, hidden});
          HostTensor expected = actual.clone();  // unused rows stay
          MoeGatherArgs args{.x = wide.view().columns(1, 1 + hidden),
                             .token_of_row = d.token_of_row.view(),
                             .expert_start = d.expert_start.view(),
                             .row_of_choice = d.row_of_choice.view(),
                             .weights = w,
                             .out = actual.view()};
          cpu_->moe_gather(args, {});
          args.out = expected.view();
          reference_->moe_gather(args, {});
          expect_same_bits(actual.view(), expected.view(), "moe_gather");
        }
      }
      const HostTensor y = random.tensor(DType::kF32, {27, hidden});
      HostTensor actual = random.tensor(DType::kF32, {9, hidden});
      HostTensor expected = random.tensor(DType::kF32, {9, hidden});
      cpu_->moe_combine({y.view(), d.row_of_choice.view(), w, actual.view()}, {});
      reference_->moe_combine({y.view(), d.row_of_choice.view(), w, expected.view()}, {});
      expect_near(actual, expected, 1e-6f, "moe_combine");
    }
  }
}

struct Experts {
  std::vector<std::unique_ptr<PackedWeight>> owned;
  std::vector<const PackedWeight*> weights;
};

Experts pack_experts(Backend* backend, const std::vector<HostTensor>& sources) {
  Experts experts;
  for (const HostTensor& source : sources) {
    experts.owned.push_back(pack(backend, source.view()));
    experts.weights.push_back(experts.owned.back().get());
  }
  return experts;
}

std::vector<HostTensor> expert_weights(Random* random, int64_t n, int64_t out, int64_t in,
                                       DType dtype) {
  std::vector<HostTensor> weights;
  for (int64_t e = 0; e < n; ++e) weights.push_back(random->tensor(dtype, {out, in}, 0.1f));
  return weights;
}

HostTensor starts_of(const std::vector<int32_t>& rows) {
  std::vector<int32_t> start{0};
  for (const int32_t n : rows) start.push_back(start.back() + n);
  return tensor_of(start);
}

TEST_P(MoeTest, GroupedLinearAgreesWithTheReference) {
  Random random(204);
  const std::vector<std::vector<int32_t>> cases = {
      {1}, {0, 1, 0}, {3, 0, 17, 1}, {1, 1, 1, 1, 1, 1, 1, 1}, {300, 2, 0, 40}};
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    for (const int n_threads : {1, 3}) {
      const auto cpu = cpu_backend(GetParam(), compute, n_threads);
      const auto reference = make_reference_backend(compute);
      for (const auto& rows : cases) {
        const auto n_experts = static_cast<int64_t>(rows.size());
        for (const auto& [out, in] : {std::pair<int64_t, int64_t>{70, 33}, {129, 64}}) {
          const auto sources = expert_weights(&random, n_experts, out, in, DType::kBF16);
          const Experts packed = pack_experts(cpu.get(), sources);
          const Experts reference_packed = pack_experts(reference.get(), sources);
          const HostTensor start = starts_of(rows);
          const int64_t n_used = start.view().as<int32_t>()[n_experts];
          const HostTensor x = random.tensor(DType::kBF16, {n_used + 2, in});
          const HostTensor bias = random.tensor(DType::kF32, {n_experts, out});
          HostTensor actual = random.tensor(DType::kF32, {n_used + 2, out});
          HostTensor expected = actual.clone();  // unused rows stay
          GroupedLinearArgs args{.x = x.view(),
                                 .weights = packed.weights,
                                 .bias = n_threads == 1 ? bias.view() : TensorView(),
                                 .expert_start = start.view(),
                                 .out = actual.view()};
          cpu->grouped_linear(args, {});
          args.weights = reference_packed.weights;
          args.out = expected.view();
          reference->grouped_linear(args, {});
          expect_near(actual, expected, 5e-6f, std::to_string(n_experts) + " experts");
        }
      }
    }
  }
}

// A row of an expert is a row of `linear` with its weight, alone or among others, on any number of
// threads: bit for bit.
TEST_P(MoeTest, GroupedLinearRowsDoNotKnowTheirBatch) {
  Random random(205);
  const std::vector<int32_t> rows = {5, 0, 1, 260, 13};
  const auto sources = expert_weights(&random, 5, 200, 301, DType::kBF16);
  const HostTensor x = random.tensor(DType::kF32, {279, 301});
  const HostTensor start = starts_of(rows);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    for (const int n_threads : {1, 2, 3}) {
      const auto cpu = cpu_backend(GetParam(), compute, n_threads);
      const Experts experts = pack_experts(cpu.get(), sources);
      HostTensor whole(DType::kF32, {279, 200});
      cpu->grouped_linear({.x = x.view(),
                           .weights = experts.weights,
                           .expert_start = start.view(),
                           .out = whole.view()},
                          {});
      for (size_t e = 0; e < rows.size(); ++e) {
        for (int64_t i = start.view().as<int32_t>()[e]; i < start.view().as<int32_t>()[e + 1];
             i += 1 + i / 20) {
          HostTensor one(DType::kF32, {1, 200});
          cpu->linear(
              {.x = x.view().rows(i, i + 1), .weight = experts.weights[e], .out = one.view()}, {});
          expect_same_bits(one.view(), whole.view().rows(i, i + 1), "row " + std::to_string(i));
        }
      }
    }
  }
}

// A whole layer on one rank, and cut by expert over two, against the layer's definition.
TEST_P(MoeTest, ALayerIsItsDefinition) {
  Random random(206);
  constexpr int64_t kTokens = 11, kHidden = 40, kWidth = 24, kTopK = 2;
  constexpr int32_t kExperts = 6;
  const HostTensor x = random.tensor(DType::kF32, {kTokens, kHidden});
  const HostTensor logits = random.tensor(DType::kF32, {kTokens, kExperts}, 2);
  const auto gate_up = expert_weights(&random, kExperts, 2 * kWidth, kHidden, DType::kF32);
  const auto down = expert_weights(&random, kExperts, kHidden, kWidth, DType::kF32);
  const Routing routing = route(cpu_.get(), {.logits = logits.view(), .renormalize = true}, kTopK);
  const Experts packed_gate_up = pack_experts(cpu_.get(), gate_up);
  const Experts packed_down = pack_experts(cpu_.get(), down);
  const auto layer = [&](int32_t first, int32_t n_local) {
    const Dispatch d = dispatch(cpu_.get(), routing.ids, first, n_local);
    HostTensor rows(DType::kF32, {kTokens * kTopK, kHidden});
    HostTensor wide(DType::kF32, {kTokens * kTopK, 2 * kWidth});
    HostTensor activated(DType::kF32, {kTokens * kTopK, kWidth});
    HostTensor out(DType::kF32, {kTokens, kHidden});
    const auto local = [&](const Experts& experts) {
      return std::span(experts.weights)
          .subspan(static_cast<size_t>(first), static_cast<size_t>(n_local));
    };
    cpu_->moe_gather({.x = x.view(),
                      .token_of_row = d.token_of_row.view(),
                      .expert_start = d.expert_start.view(),
                      .row_of_choice = d.row_of_choice.view(),
                      .out = rows.view()},
                     {});
    cpu_->grouped_linear({.x = rows.view(),
                          .weights = local(packed_gate_up),
                          .expert_start = d.expert_start.view(),
                          .out = wide.view()},
                         {});
    cpu_->gated_activation({.gate_up = wide.view(), .out = activated.view()}, {});
    cpu_->grouped_linear({.x = activated.view(),
                          .weights = local(packed_down),
                          .expert_start = d.expert_start.view(),
                          .out = rows.view()},
                         {});
    cpu_->moe_combine({rows.view(), d.row_of_choice.view(), routing.weights.view(), out.view()},
                      {});
    return out;
  };
  const HostTensor whole = layer(0, kExperts);
  const HostTensor left = layer(0, 2);
  const HostTensor right = layer(2, kExperts - 2);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t o = 0; o < kHidden; ++o) {
      double expected = 0;
      for (int64_t c = 0; c < kTopK; ++c) {
        const auto e = static_cast<size_t>(routing.ids.view().row<int32_t>(t)[c]);
        double y = 0;
        for (int64_t w = 0; w < kWidth; ++w) {
          double gate = 0;
          double up = 0;
          for (int64_t h = 0; h < kHidden; ++h) {
            gate += x.at(t * kHidden + h) * gate_up[e].at(w * kHidden + h);
            up += x.at(t * kHidden + h) * gate_up[e].at((kWidth + w) * kHidden + h);
          }
          y += gate / (1 + std::exp(-gate)) * up * down[e].at(o * kWidth + w);
        }
        expected += routing.weights.at(t * kTopK + c) * y;
      }
      const int64_t i = t * kHidden + o;
      ASSERT_NEAR(whole.at(i), expected, 1e-5);
      ASSERT_NEAR(left.at(i) + right.at(i), expected, 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, MoeTest, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

TEST(MoeDeathTest, WrongRowsAndShapesStopTheProcess) {
  const auto cpu = cpu_backend("portable", ComputeDType::kF32);
  Random random(207);
  const HostTensor y = random.tensor(DType::kF32, {2, 8});
  HostTensor rows = integers({2, 1});
  rows.view().as<int32_t>()[0] = 0;
  rows.view().as<int32_t>()[1] = 2;
  HostTensor out(DType::kF32, {2, 8});
  EXPECT_DEATH(cpu->moe_combine({y.view(), rows.view(), TensorView(), out.view()}, {}), "2 vs 2");
  HostTensor ids = integers({1, 5});
  HostTensor weights(DType::kF32, {1, 5});
  const HostTensor logits = random.tensor(DType::kF32, {1, 8});
  EXPECT_DEATH(cpu->moe_route({.logits = logits.view(),
                               .group_score = GroupScore::kMax,
                               .n_groups = 2,
                               .n_chosen_groups = 1,
                               .expert_ids = ids.view(),
                               .weights = weights.view()},
                              {}),
               "5 vs 4");
}

}  // namespace
}  // namespace trireme::kernels::testing
