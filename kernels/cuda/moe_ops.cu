// Mixture of experts: which experts a token goes to, where its rows lie, and the way there and
// back. The products between are grouped (gemm.h).
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/elementwise.h"

namespace trireme::kernels::cuda {
namespace {

struct RouteParams {
  const float* logits;
  int64_t logits_stride;
  const float* bias;  // or nullptr
  int n_experts;
  int n_groups;
  int n_chosen_groups;
  int top_k;
  ExpertScoring scoring;
  GroupScore group_score;
  bool renormalize;
  float weight_scale;
  int32_t* ids;
  int64_t ids_stride;
  float* weights;
  int64_t weights_stride;
};

// Of the values that are not taken, the index of the greatest; among equals the lowest. The whole
// warp asks and gets the answer; NaN is never greater.
__device__ __forceinline__ int best_of(const float* values, const int* taken, int n) {
  float best = -INFINITY;
  int index = n;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kWarpSize) {
    if (taken[i] != 0) continue;
    if (values[i] > best || index == n) {
      if (values[i] > best) best = values[i];
      index = i;
    }
  }
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    const float other = shuffle_xor(best, mask);
    const int other_index = shuffle_xor(index, mask);
    if (other_index < n && (index == n || other > best || (other == best && other_index < index))) {
      best = other;
      index = other_index;
    }
  }
  return index;
}

// Scores of all experts, and what they are chosen by.
__device__ __forceinline__ void score_experts(const RouteParams& p, const float* logits,
                                              float* scores, float* choice) {
  const int lane = static_cast<int>(threadIdx.x);
  float max = -INFINITY;
  for (int e = lane; e < p.n_experts; e += kWarpSize) max = fmaxf(max, logits[e]);
  max = warp_max(max);
  float sum = 0;
  for (int e = lane; e < p.n_experts; e += kWarpSize) {
    if (p.scoring == ExpertScoring::kSoftmax) {
      scores[e] = expf(logits[e] - max);
      sum += scores[e];
    } else if (p.scoring == ExpertScoring::kSigmoid) {
      scores[e] = 1.0f / (1.0f + expf(-logits[e]));
    } else {
      scores[e] = logits[e];
    }
  }
  sum = warp_sum(sum);
  const bool by_logits = p.bias == nullptr && p.group_score != GroupScore::kTopTwoSum;
  for (int e = lane; e < p.n_experts; e += kWarpSize) {
    if (p.scoring == ExpertScoring::kSoftmax) scores[e] /= sum;
    choice[e] = by_logits ? logits[e] : scores[e];
    if (p.bias != nullptr) choice[e] += p.bias[e];
  }
  warp_sync();
}

// Leaves -inf where an expert's group is not chosen.
__device__ __forceinline__ void keep_chosen_groups(const RouteParams& p, float* choice,
                                                   float* group_scores, int* chosen) {
  const int lane = static_cast<int>(threadIdx.x);
  const int size = p.n_experts / p.n_groups;
  for (int g = lane; g < p.n_groups; g += kWarpSize) {
    float first = -INFINITY;
    float second = -INFINITY;
    for (int i = 0; i < size; ++i) {
      const float value = choice[g * size + i];
      if (value > first) {
        second = first;
        first = value;
      } else if (value > second) {
        second = value;
      }
    }
    group_scores[g] = p.group_score == GroupScore::kMax ? first : first + second;
    chosen[g] = 0;
  }
  warp_sync();
  for (int i = 0; i < p.n_chosen_groups; ++i) {
    const int best = best_of(group_scores, chosen, p.n_groups);
    if (lane == 0) chosen[best] = 1;
    warp_sync();
  }
  for (int e = lane; e < p.n_experts; e += kWarpSize) {
    if (chosen[e / size] == 0) choice[e] = -INFINITY;
  }
  warp_sync();
}

// A warp per token.
__global__ void moe_route_kernel(RouteParams p) {
  auto* scores = reinterpret_cast<float*>(dynamic_shared());
  float* choice = scores + p.n_experts;
  float* group_scores = choice + p.n_experts;
  int* chosen = reinterpret_cast<int*>(group_scores + p.n_groups);
  int* taken = chosen + p.n_groups;
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t token = blockIdx.x;
  for (int e = lane; e < p.n_experts; e += kWarpSize) taken[e] = 0;
  score_experts(p, p.logits + token * p.logits_stride, scores, choice);
  if (p.group_score != GroupScore::kNone) keep_chosen_groups(p, choice, group_scores, chosen);
  int32_t* ids = p.ids + token * p.ids_stride;
  float* weights = p.weights + token * p.weights_stride;
  for (int c = 0; c < p.top_k; ++c) {
    const int best = best_of(choice, taken, p.n_experts);
    if (lane == 0) {
      taken[best] = 1;
      ids[c] = best;
      weights[c] = scores[best];
    }
    warp_sync();
  }
  if (lane != 0) return;
  if (p.scoring == ExpertScoring::kSoftmaxOfChosen) {
    float max = -INFINITY;
    for (int c = 0; c < p.top_k; ++c) max = fmaxf(max, weights[c]);
    float sum = 0;
    for (int c = 0; c < p.top_k; ++c) {
      weights[c] = expf(weights[c] - max);
      sum += weights[c];
    }
    for (int c = 0; c < p.top_k; ++c) weights[c] /= sum;
  }
  float sum = 0;
  for (int c = 0; c < p.top_k; ++c) sum += weights[c];
  // The small number keeps weights that are all zero from becoming NaN.
  sum += 1e-20f;
  for (int c = 0; c < p.top_k; ++c) {
    weights[c] = (p.renormalize ? weights[c] / sum : weights[c]) * p.weight_scale;
  }
}

struct DispatchParams {
  const int32_t* ids;
  int64_t ids_stride;
  int64_t n_tokens;
  int64_t top_k;
  int first_expert;
  int n_local;
  int32_t* token_of_row;
  int32_t* expert_start;
  int32_t* row_of_choice;
  int64_t row_stride;
};

constexpr int kDispatchThreads = 1024;

// One block; a warp per expert walks all choices in order, once to count its own and once to place
// them.
__global__ void __launch_bounds__(kDispatchThreads) moe_dispatch_kernel(DispatchParams p) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const int64_t lane = threadIdx.x % kWarpSize;
  const int64_t n_choices = p.n_tokens * p.top_k;
  const int64_t n_padded = round_up<int64_t>(n_choices, kWarpSize);
  const auto is_of = [&](int64_t i, int expert) {
    return i < n_choices &&
           p.ids[i / p.top_k * p.ids_stride + i % p.top_k] == p.first_expert + expert;
  };
  for (int64_t i = threadIdx.x; i < n_choices; i += blockDim.x) {
    p.row_of_choice[i / p.top_k * p.row_stride + i % p.top_k] = -1;
  }
  for (int expert = warp; expert < p.n_local; expert += n_warps) {
    int count = 0;
    for (int64_t i = lane; i < n_padded; i += kWarpSize) count += is_of(i, expert) ? 1 : 0;
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) count += shuffle_xor(count, mask);
    if (lane == 0) p.expert_start[expert + 1] = count;
  }
  block_sync();
  if (threadIdx.x == 0) {
    p.expert_start[0] = 0;
    for (int e = 0; e < p.n_local; ++e) p.expert_start[e + 1] += p.expert_start[e];
  }
  block_sync();
  for (int expert = warp; expert < p.n_local; expert += n_warps) {
    int32_t next = p.expert_start[expert];
    for (int64_t i = lane; i < n_padded; i += kWarpSize) {
      const bool mine = is_of(i, expert);
      const uint32_t lanes = warp_ballot(mine);
      if (mine) {
        const int32_t row = next + count_bits(lanes & ((1u << lane) - 1));
        p.token_of_row[row] = static_cast<int32_t>(i / p.top_k);
        p.row_of_choice[i / p.top_k * p.row_stride + i % p.top_k] = row;
      }
      next += count_bits(lanes);
    }
  }
}

struct MoveParams {
  const void* from;
  int64_t from_stride;
  const int32_t* token_of_row;
  const int32_t* n_used;  // the end of the last expert's rows
  const int32_t* row_of_choice;
  int64_t row_stride;
  const float* weights;  // or nullptr
  int64_t weights_stride;
  int64_t top_k;
  void* out;
  int64_t out_stride;
  int64_t n_rows;
  int64_t width;
};

template <typename From, typename Out>
__global__ void moe_gather_kernel(MoveParams p) {
  const int64_t n_used = *p.n_used;
  each_element(n_used, p.width, [&](int64_t row, int64_t j) {
    const int64_t token = p.token_of_row[row];
    float weight = 1;
    for (int64_t c = 0; p.weights != nullptr && c < p.top_k; ++c) {
      if (p.row_of_choice[token * p.row_stride + c] == row) {
        weight = p.weights[token * p.weights_stride + c];
      }
    }
    const float value = device_to_f32(static_cast<const From*>(p.from)[token * p.from_stride + j]);
    static_cast<Out*>(p.out)[row * p.out_stride + j] = device_from_f32<Out>(value * weight);
  });
}

__global__ void moe_combine_kernel(MoveParams p) {
  each_element(p.n_rows, p.width, [&](int64_t token, int64_t j) {
    float sum = 0;
    for (int64_t c = 0; c < p.top_k; ++c) {
      const int64_t row = p.row_of_choice[token * p.row_stride + c];
      if (row < 0) continue;
      const float weight = p.weights == nullptr ? 1.0f : p.weights[token * p.weights_stride + c];
      sum = add_scaled(sum, weight, static_cast<const float*>(p.from)[row * p.from_stride + j]);
    }
    static_cast<float*>(p.out)[token * p.out_stride + j] = sum;
  });
}

}  // namespace

void moe_route(const MoeRouteArgs& args, const Launcher& launcher) {
  const RouteParams params{
      .logits = args.logits.as<float>(),
      .logits_stride = args.logits.row_stride,
      .bias = args.choice_bias.defined() ? args.choice_bias.as<float>() : nullptr,
      .n_experts = static_cast<int>(args.logits.dim(1)),
      .n_groups = args.n_groups,
      .n_chosen_groups = args.n_chosen_groups,
      .top_k = static_cast<int>(args.expert_ids.dim(1)),
      .scoring = args.scoring,
      .group_score = args.group_score,
      .renormalize = args.renormalize,
      .weight_scale = args.weight_scale,
      .ids = args.expert_ids.as<int32_t>(),
      .ids_stride = args.expert_ids.row_stride,
      .weights = args.weights.as<float>(),
      .weights_stride = args.weights.row_stride};
  const auto words = static_cast<size_t>(3 * params.n_experts + 2 * params.n_groups);
  launch(moe_route_kernel, "moe_route",
         {.grid_x = args.logits.dim(0), .block = kWarpSize, .shared_bytes = words * sizeof(float)},
         launcher, params);
}

void moe_dispatch(const MoeDispatchArgs& args, const Launcher& launcher) {
  const DispatchParams params{.ids = args.expert_ids.as<int32_t>(),
                              .ids_stride = args.expert_ids.row_stride,
                              .n_tokens = args.expert_ids.dim(0),
                              .top_k = args.expert_ids.dim(1),
                              .first_expert = args.first_expert,
                              .n_local = args.n_local_experts,
                              .token_of_row = args.token_of_row.as<int32_t>(),
                              .expert_start = args.expert_start.as<int32_t>(),
                              .row_of_choice = args.row_of_choice.as<int32_t>(),
                              .row_stride = args.row_of_choice.row_stride};
  const int threads = threads_for(int64_t{params.n_local} * kWarpSize, kDispatchThreads);
  launch(moe_dispatch_kernel, "moe_dispatch", {.grid_x = 1, .block = threads}, launcher, params);
}

void moe_gather(const MoeGatherArgs& args, const Launcher& launcher) {
  const MoveParams params{.from = args.x.data,
                          .from_stride = args.x.row_stride,
                          .token_of_row = args.token_of_row.as<int32_t>(),
                          .n_used = args.expert_start.as<int32_t>() + args.expert_start.dim(0) - 1,
                          .row_of_choice = args.row_of_choice.as<int32_t>(),
                          .row_stride = args.row_of_choice.row_stride,
                          .weights = args.weights.defined() ? args.weights.as<float>() : nullptr,
                          .weights_stride = args.weights.defined() ? args.weights.row_stride : 0,
                          .top_k = args.row_of_choice.dim(1),
                          .out = args.out.data,
                          .out_stride = args.out.row_stride,
                          .n_rows = args.out.dim(0),
                          .width = args.x.dim(1)};
  const bool from_bf16 = args.x.dtype == DType::kBF16;
  const bool to_bf16 = args.out.dtype == DType::kBF16;
  auto* kernel = from_bf16
                     ? (to_bf16 ? moe_gather_kernel<bf16, bf16> : moe_gather_kernel<bf16, float>)
                     : (to_bf16 ? moe_gather_kernel<float, bf16> : moe_gather_kernel<float, float>);
  launch(kernel, "moe_gather", elementwise_shape(params.n_rows, params.width), launcher, params);
}

void moe_combine(const MoeCombineArgs& args, const Launcher& launcher) {
  const MoveParams params{.from = args.y.data,
                          .from_stride = args.y.row_stride,
                          .row_of_choice = args.row_of_choice.as<int32_t>(),
                          .row_stride = args.row_of_choice.row_stride,
                          .weights = args.weights.defined() ? args.weights.as<float>() : nullptr,
                          .weights_stride = args.weights.defined() ? args.weights.row_stride : 0,
                          .top_k = args.row_of_choice.dim(1),
                          .out = args.out.data,
                          .out_stride = args.out.row_stride,
                          .n_rows = args.out.dim(0),
                          .width = args.out.dim(1)};
  launch(moe_combine_kernel, "moe_combine", elementwise_shape(params.n_rows, params.width),
         launcher, params);
}

}  // namespace trireme::kernels::cuda
