#include <algorithm>

#include "kernels/cuda/attention.h"

namespace trireme::kernels::cuda {
namespace {

// Blocks per multiprocessor from which on more splits gain nothing.
constexpr int64_t kBlocksWanted = 4;

}  // namespace

AttentionPlan plan_attention(const AttentionShapeInfo& info, int64_t packed_rows,
                             int64_t min_split_keys, int n_multiprocessors, int64_t n_partials) {
  AttentionPlan plan;
  const int64_t per_kv_head = info.n_heads / info.n_kv_heads;
  plan.heads_per_group = std::min(per_kv_head, packed_rows);
  plan.n_groups = ceil_div(per_kv_head, plan.heads_per_group);
  plan.rows_per_tile = std::max<int64_t>(1, packed_rows / plan.heads_per_group);
  plan.n_slots = n_tile_slots(info.n_tokens, info.n_seqs, plan.rows_per_tile);
  plan.split_keys = std::max(kKeyAlignment, round_up(info.max_keys, kKeyAlignment));
  if (info.n_tokens == 0 || info.n_seqs == 0) return plan;

  // Slots without rows end at once: the tiles that do work are fewer.
  const int64_t n_tiles = std::max<int64_t>(1, ceil_div(info.n_tokens, plan.rows_per_tile));
  const int64_t n_working = std::max(n_tiles, std::min(info.n_seqs, info.n_tokens));
  const int64_t n_blocks = n_working * info.n_kv_heads * plan.n_groups;
  int64_t n_splits = ceil_div(kBlocksWanted * n_multiprocessors, n_blocks);
  n_splits = std::min(n_splits, ceil_div(info.max_keys, min_split_keys));
  const int64_t per_split = info.n_tokens * info.n_heads * (info.value_dim + 2);
  n_splits = std::min(n_splits, n_partials / std::max<int64_t>(per_split, 1));
  n_splits = std::clamp<int64_t>(n_splits, 1, kMaxGridYZ);
  plan.split_keys =
      std::max(kKeyAlignment, round_up(ceil_div(info.max_keys, n_splits), kKeyAlignment));
  plan.n_splits = std::max<int64_t>(1, ceil_div(info.max_keys, plan.split_keys));
  return plan;
}

AttentionShapeInfo attention_info(const PagedAttentionArgs& args) {
  return {.n_tokens = args.q.dim(0),
          .n_seqs = args.context_len.dim(0),
          .n_heads = args.q.dim(1),
          .n_kv_heads = args.k_cache.dim(1),
          .key_dim = args.q.dim(2),
          .value_dim = args.q.dim(2),
          .max_keys = args.block_table.dim(1) * args.k_cache.dim(2)};
}

AttentionParams attention_params(const PagedAttentionArgs& args) {
  AttentionParams params{};
  params.q = args.q.as<float>();
  params.q_stride = args.q.row_stride;
  params.k_cache = args.k_cache.data;
  params.v_cache = args.v_cache.data;
  params.block_stride = args.k_cache.row_stride;
  params.block_table = args.block_table.as<int32_t>();
  params.table_stride = args.block_table.row_stride;
  params.query_start = args.query_start.as<int32_t>();
  params.context_len = args.context_len.as<int32_t>();
  params.n_tokens = args.q.dim(0);
  params.n_seqs = args.context_len.dim(0);
  params.n_heads = args.q.dim(1);
  params.n_kv_heads = args.k_cache.dim(1);
  params.key_dim = args.q.dim(2);
  params.value_dim = args.q.dim(2);
  params.block_size = args.k_cache.dim(2);
  params.scale = args.scale * args.k_scale;
  params.window = args.window;
  params.chunk = args.chunk;
  params.softcap = args.softcap;
  params.sinks = args.sinks.defined() ? args.sinks.as<float>() : nullptr;
  params.causal = args.causal;
  params.value_scale = args.v_scale;
  params.out = args.out.data;
  params.out_stride = args.out.row_stride;
  params.out_is_bf16 = args.out.dtype == DType::kBF16;
  return params;
}

void place_partials(AttentionParams* params, const AttentionWorkspace& workspace) {
  const int64_t n = params->n_tokens * params->n_heads * params->plan.n_splits;
  if (params->plan.n_splits > 1) CHECK_LE(n * (params->value_dim + 2), workspace.n_partials);
  params->partial_max = workspace.partials;
  params->partial_sums = workspace.partials + 2 * n;
}

}  // namespace trireme::kernels::cuda
