// Attention over the paged cache: how it is cut into blocks, and what its kernels are told.
//
// A block works on a tile of query rows of one sequence, for query heads that share a kv head, over
// one split of the keys; a row and one of its heads make a packed row. With several splits the
// blocks write partial sums with their maxima, and `combine` brings them together in the splits'
// order.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch_shape.h"
#include "kernels/cuda/row_tiles.h"
#include "kernels/dtype.h"
#include "kernels/ops.h"

namespace trireme::kernels::cuda {

struct Launcher;

// Splits begin at multiples of it.
inline constexpr int64_t kKeyAlignment = 64;
// Every cache's block size is a multiple of it, so that this many aligned keys lie in one block.
inline constexpr int64_t kBlockSizeMultiple = 16;

// What a call is, before it is cut.
struct AttentionShapeInfo {
  int64_t n_tokens = 0;
  int64_t n_seqs = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  int64_t max_keys = 0;  // a bound: the block table's width in tokens
};

struct AttentionPlan {
  int64_t heads_per_group = 1;  // query heads of a packed row tile, of one kv head
  int64_t n_groups = 1;         // tiles of heads of one kv head
  int64_t rows_per_tile = 1;    // query rows of a block
  int64_t n_slots = 0;          // row_tiles.h
  int64_t n_splits = 1;
  int64_t split_keys = 0;  // a multiple of kKeyAlignment
};

// `packed_rows`: what a block takes. `n_partials`: floats of workspace. Pure.
AttentionPlan plan_attention(const AttentionShapeInfo& info, int64_t packed_rows,
                             int64_t min_split_keys, int n_multiprocessors, int64_t n_partials);

// First key that the query at `position` sees.
TRIREME_HD constexpr int64_t first_visible(int64_t position, int32_t window, int32_t chunk) {
  int64_t first = window > 0 && position >= window ? position - window + 1 : 0;
  if (chunk > 0) {
    const int64_t of_chunk = position - position % chunk;
    if (of_chunk > first) first = of_chunk;
  }
  return first;
}

// One behind the last key that it sees, of `n_context`.
TRIREME_HD constexpr int64_t end_visible(int64_t position, int64_t n_context, bool causal) {
  return causal ? position + 1 : n_context;
}

struct AttentionParams {
  const float* q;
  int64_t q_stride;
  const void* k_cache;
  const void* v_cache;  // nullptr: a value is the first value_dim channels of its key
  int64_t block_stride;
  const int32_t* block_table;
  int64_t table_stride;
  const int32_t* query_start;
  const int32_t* context_len;
  int64_t n_tokens;
  int64_t n_seqs;
  int64_t n_heads;
  int64_t n_kv_heads;
  int64_t key_dim;
  int64_t value_dim;
  int64_t block_size;
  float scale;
  int32_t window;
  int32_t chunk;
  float softcap;
  const float* sinks;     // [n_heads] or nullptr
  bool causal = true;     // false: a row sees all keys of its sequence
  float value_scale = 1;  // of cached values; that of keys is part of `scale`
  void* out;
  int64_t out_stride;
  bool out_is_bf16;
  AttentionPlan plan;
  float* partial_sums;  // [token][head][split][value_dim], relative to the split's maximum
  float* partial_max;   // [token][head][split][2]: maximum, sum of exponentials
};

// What the op's operands say of both; the plan and the place of partial sums are left empty.
AttentionShapeInfo attention_info(const PagedAttentionArgs& args);
AttentionParams attention_params(const PagedAttentionArgs& args);

struct AttentionWorkspace {
  float* partials = nullptr;
  int64_t n_partials = 0;
  // Every row walks its keys in the same pieces, whatever rows are beside it: no splits, and the
  // same division of keys among warps in prefill and decode.
  bool one_order = false;
};

// Any head size, any dtype of cache, f32 arithmetic.
void plain_attention(AttentionParams params, const AttentionShapeInfo& info, DType cache,
                     const AttentionWorkspace& workspace, const Launcher& launcher);

// bf16 or e4m3 cache, tensor cores: q and the weights of values are rounded to bf16.
bool mma_attention_takes(const AttentionShapeInfo& info, DType cache);
void mma_attention(AttentionParams params, const AttentionShapeInfo& info, DType cache,
                   const AttentionWorkspace& workspace, const Launcher& launcher);

// bf16 or f16 cache, heads of 64 or 128 channels, prefills on sm_90a: q and the weights of values
// are rounded to the cache's type. No splits. The second is pure.
AttentionPlan plan_wgmma_attention(const AttentionShapeInfo& info);
bool wgmma_attention_takes(const AttentionParams& params, const AttentionShapeInfo& info,
                           DType cache, int n_multiprocessors);
// On any other architecture it writes nothing.
void wgmma_attention(AttentionParams params, const AttentionShapeInfo& info, DType cache,
                     const Launcher& launcher);

// The end of a call with several splits.
void combine_attention(const AttentionParams& params, const Launcher& launcher);
// Points the params at their part of the workspace.
void place_partials(AttentionParams* params, const AttentionWorkspace& workspace);

}  // namespace trireme::kernels::cuda
