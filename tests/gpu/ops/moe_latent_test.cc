// Mixture of experts and latent attention.
#include <algorithm>
#include <numeric>

#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

using DeviceMoe = DeviceTest;
using DeviceLatent = DeviceTest;

struct Routed {
  HostTensor ids;
  HostTensor weights;
};

Routed route(Backend& backend, MoeRouteArgs args, int64_t top_k) {
  Routed routed{HostTensor(DType::kI32, {args.logits.dim(0), top_k}),
                HostTensor(DType::kF32, {args.logits.dim(0), top_k})};
  args.expert_ids = routed.ids.view();
  args.weights = routed.weights.view();
  backend.moe_route(args, {});
  return routed;
}

TEST_F(DeviceMoe, RouteChoosesLikeTheReference) {
  Random random(1);
  for (const int64_t n_experts : {4, 8, 64, 160}) {
    HostTensor logits = random.tensor(DType::kF32, {9, n_experts}, 2);
    for (int64_t e = 0; e < n_experts; ++e) logits.set(e, 1.0f);  // all equal: the lowest ids
    const HostTensor bias = random.tensor(DType::kF32, {n_experts}, 0.3f);
    for (const ExpertScoring scoring :
         {ExpertScoring::kSoftmax, ExpertScoring::kSoftmaxOfChosen, ExpertScoring::kSigmoid}) {
      for (const GroupScore group : {GroupScore::kNone, GroupScore::kMax, GroupScore::kTopTwoSum}) {
        if (group == GroupScore::kTopTwoSum && n_experts < 8) continue;
        for (const bool with_bias : {false, true}) {
          const MoeRouteArgs args{.logits = logits.view(),
                                  .choice_bias = with_bias ? bias.view() : TensorView(),
                                  .scoring = scoring,
                                  .group_score = group,
                                  .n_groups = 4,
                                  .n_chosen_groups = 2,
                                  .renormalize = with_bias,
                                  .weight_scale = 2.5f};
          const int64_t top_k = n_experts == 4 ? 2 : 4;
          const Routed actual = route(*f32_, args, top_k);
          const Routed expected = route(*reference_, args, top_k);
          expect_same_bits(actual.ids.view(), expected.ids.view(),
                           std::to_string(n_experts) + " experts");
          expect_near(actual.weights, expected.weights, 3e-6f, "weights");
        }
      }
    }
  }
}

struct Dispatched {
  HostTensor token_of_row;
  HostTensor expert_start;
  HostTensor row_of_choice;
};

Dispatched dispatch(Backend& backend, const HostTensor& ids, int32_t first, int32_t n_local) {
  Dispatched d{HostTensor(DType::kI32, {ids.view().numel()}),
               HostTensor(DType::kI32, {n_local + 1}),
               HostTensor(DType::kI32, {ids.view().dim(0), ids.view().dim(1)})};
  backend.moe_dispatch({.expert_ids = ids.view(),
                        .first_expert = first,
                        .n_local_experts = n_local,
                        .token_of_row = d.token_of_row.view(),
                        .expert_start = d.expert_start.view(),
                        .row_of_choice = d.row_of_choice.view()},
                       {});
  return d;
}

HostTensor random_choices(Random& random, int64_t n_tokens, int64_t top_k, int32_t n_experts) {
  HostTensor ids(DType::kI32, {n_tokens, top_k});
  std::vector<int32_t> all(static_cast<size_t>(n_experts));
  std::iota(all.begin(), all.end(), 0);
  for (int64_t t = 0; t < n_tokens; ++t) {
    std::shuffle(all.begin(), all.end(), random.engine());
    std::copy(all.begin(), all.begin() + top_k, ids.view().row<int32_t>(t));
  }
  return ids;
}

TEST_F(DeviceMoe, DispatchSortsByExpertTokenChoice) {
  Random random(2);
  for (const int64_t n_tokens : {0, 1, 7, 50}) {
    for (const int32_t n_local : {1, 5, 40}) {
      const HostTensor ids = random_choices(random, n_tokens, 3, 48);
      const Dispatched actual = dispatch(*f32_, ids, 6, n_local);
      const Dispatched expected = dispatch(*reference_, ids, 6, n_local);
      expect_same_bits(actual.token_of_row.view(), expected.token_of_row.view(), "token_of_row");
      expect_same_bits(actual.expert_start.view(), expected.expert_start.view(), "expert_start");
      expect_same_bits(actual.row_of_choice.view(), expected.row_of_choice.view(), "row_of_choice");
    }
  }
}

// Gather, the experts' linear, combine: few rows per expert and many, both compute dtypes.
TEST_F(DeviceMoe, LayerAgreesWithTheReference) {
  Random random(3);
  constexpr int64_t kHidden = 72;
  constexpr int64_t kOut = 40;
  constexpr int32_t kExperts = 6;
  std::vector<HostTensor> hosts;
  hosts.reserve(kExperts);
  for (int e = 0; e < kExperts; ++e) {
    hosts.push_back(random.tensor(DType::kBF16, {kOut, kHidden}, 0.1f));
  }
  const HostTensor bias = random.tensor(DType::kF32, {kExperts, kOut});
  for (const bool in_bf16 : {false, true}) {
    const auto layer = [&](Backend& backend, const HostTensor& x, const Dispatched& d,
                           const HostTensor& weights, bool scale_input) {
      std::vector<std::unique_ptr<PackedWeight>> packed;
      std::vector<const PackedWeight*> pointers;
      for (const HostTensor& host : hosts) {
        packed.push_back(pack(&backend, host.view()));
        pointers.push_back(packed.back().get());
      }
      const int64_t n_rows = d.token_of_row.view().dim(0);
      HostTensor rows(in_bf16 ? DType::kBF16 : DType::kF32, {n_rows, kHidden});
      backend.moe_gather({.x = x.view(),
                          .token_of_row = d.token_of_row.view(),
                          .expert_start = d.expert_start.view(),
                          .row_of_choice = d.row_of_choice.view(),
                          .weights = scale_input ? weights.view() : TensorView(),
                          .out = rows.view()},
                         {});
      HostTensor y(DType::kF32, {n_rows, kOut});
      backend.grouped_linear({.x = rows.view(),
                              .weights = pointers,
                              .bias = scale_input ? TensorView() : bias.view(),
                              .expert_start = d.expert_start.view(),
                              .out = y.view()},
                             {});
      HostTensor out(DType::kF32, {x.view().dim(0), kOut});
      backend.moe_combine({.y = y.view(),
                           .row_of_choice = d.row_of_choice.view(),
                           .weights = scale_input ? TensorView() : weights.view(),
                           .out = out.view()},
                          {});
      return out;
    };
    for (const int64_t n_tokens : {1, 9, 130}) {
      const HostTensor x = random.tensor(DType::kF32, {n_tokens, kHidden});
      const HostTensor ids = random_choices(random, n_tokens, 2, 8);  // two are another rank's
      const HostTensor weights = random.tensor(DType::kF32, {n_tokens, 2});
      const Dispatched d = dispatch(*reference_, ids, 1, kExperts);
      for (const bool scale_input : {false, true}) {
        const HostTensor actual = layer(in_bf16 ? *bf16_ : *f32_, x, d, weights, scale_input);
        const HostTensor expected =
            layer(in_bf16 ? *reference_bf16_ : *reference_, x, d, weights, scale_input);
        expect_near(actual, expected, 2e-5f, std::to_string(n_tokens) + " tokens");
      }
    }
  }
}

TEST_F(DeviceLatent, AppendAndAttendLikeTheReference) {
  struct Shape {
    int64_t n_heads;
    int64_t rank;
    int64_t rope_dim;
    int64_t block_size;
  };
  Random random(4);
  for (const Shape& s :
       {Shape{4, 32, 8, 16}, Shape{16, 512, 64, 32}, Shape{3, 64, 33, 48}, Shape{40, 24, 8, 16}}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
      const float scale = scales_for(dtype).k;
      const int64_t width = s.rank + s.rope_dim;
      const int64_t length = s.rank > 100 ? 70 : 600;
      const int64_t n_blocks = (length + s.block_size - 1) / s.block_size;
      HostTensor cache = random.tensor(dtype, {n_blocks + 1, s.block_size, width});
      HostTensor expected_cache = cache.clone();
      std::vector<int32_t> blocks(static_cast<size_t>(n_blocks));
      std::iota(blocks.begin(), blocks.end(), 1);
      std::shuffle(blocks.begin(), blocks.end(), random.engine());
      std::vector<int64_t> slots;
      for (int64_t i = 0; i < length; ++i) {
        slots.push_back(int64_t{blocks[static_cast<size_t>(i / s.block_size)]} * s.block_size +
                        i % s.block_size);
      }
      const HostTensor slot_tensor = tensor_of(slots);
      const HostTensor rows = random.tensor(DType::kF32, {length, width});
      const auto append = [&](Backend& backend, const HostTensor& to) {
        backend.latent_append({.latent = rows.view().columns(0, s.rank),
                               .rope_key = rows.view().columns(s.rank, width),
                               .slots = slot_tensor.view(),
                               .cache = to.view(),
                               .cache_scale = scale},
                              {});
      };
      append(*f32_, cache);
      append(*reference_, expected_cache);
      expect_same_bits(cache.view(), expected_cache.view(), "cache");

      const HostTensor table_row = tensor_of(blocks);
      const TensorView table(table_row.view().data, DType::kI32, {1, n_blocks});
      for (const int64_t n_queries : {1, 5}) {
        const HostTensor q = random.tensor(DType::kF32, {n_queries, s.n_heads, width});
        const HostTensor start = tensor_of<int32_t>({0, static_cast<int32_t>(n_queries)});
        const HostTensor context = tensor_of<int32_t>({static_cast<int32_t>(length)});
        HostTensor actual(DType::kF32, {n_queries, s.n_heads, s.rank});
        HostTensor expected = actual.clone();
        LatentAttentionArgs args{.q = q.view(),
                                 .cache = cache.view(),
                                 .block_table = table,
                                 .query_start = start.view(),
                                 .context_len = context.view(),
                                 .rank = s.rank,
                                 .scale = 0.1f,
                                 .out = actual.view(),
                                 .cache_scale = scale};
        f32_->latent_attention(args, {});
        args.out = expected.view();
        reference_->latent_attention(args, {});
        expect_near(actual, expected, 1e-5f, "rank " + std::to_string(s.rank));
      }
    }
  }
}

}  // namespace
}  // namespace trireme::kernels::testing
