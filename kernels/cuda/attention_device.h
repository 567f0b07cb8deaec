// What the attention kernels share on the device: which rows and keys a block has, scores, the
// store.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"

namespace trireme::kernels::cuda {

// A block's rows, heads and keys.
struct AttentionTile {
  RowTile rows;                // run: the sequence
  int64_t first_position = 0;  // of the tile's first row
  int64_t n_context = 0;       // keys of the sequence
  int64_t kv_head = 0;
  int64_t first_head = 0;  // query head of packed row 0
  int64_t n_heads = 0;     // of the tile
  int64_t first_key = 0;   // keys [first_key, end_key)
  int64_t end_key = 0;
};

// y is kv head and group, z the split. No rows or no keys: nothing to do.
TRIREME_HD inline AttentionTile attention_tile(const AttentionParams& p, int64_t x, int64_t y,
                                               int64_t z) {
  AttentionTile tile;
  tile.rows = row_tile(p.query_start, p.n_tokens, p.n_seqs, p.plan.rows_per_tile, x);
  if (tile.rows.n == 0) return tile;
  tile.n_context = p.context_len[tile.rows.run];
  tile.first_position = tile.n_context - (p.query_start[tile.rows.run + 1] - tile.rows.first);
  tile.kv_head = y / p.plan.n_groups;
  const int64_t per_kv_head = p.n_heads / p.n_kv_heads;
  const int64_t in_kv_head = y % p.plan.n_groups * p.plan.heads_per_group;
  tile.first_head = tile.kv_head * per_kv_head + in_kv_head;
  const int64_t left = per_kv_head - in_kv_head;
  tile.n_heads = left < p.plan.heads_per_group ? left : p.plan.heads_per_group;
  // The first row sees the earliest keys, the last one the latest.
  const int64_t seen = first_visible(tile.first_position, p.window, p.chunk);
  const int64_t split_begin = z * p.plan.split_keys;
  // Blocks before it may be anything: the table's entries for them are not read.
  const int64_t aligned = seen / kBlockSizeMultiple * kBlockSizeMultiple;
  tile.first_key = aligned > split_begin ? aligned : split_begin;
  const int64_t end = end_visible(tile.first_position + tile.rows.n - 1, tile.n_context, p.causal);
  const int64_t split_end = split_begin + p.plan.split_keys;
  tile.end_key = end < split_end ? end : split_end;
  return tile;
}

__device__ __forceinline__ float masked_score(const AttentionParams& p, float dot, int64_t key,
                                              int64_t position, int64_t n_context) {
  if (key >= end_visible(position, n_context, p.causal)) return -INFINITY;
  if (key < first_visible(position, p.window, p.chunk)) return -INFINITY;
  const float score = dot * p.scale;
  return p.softcap > 0 ? p.softcap * tanhf(score / p.softcap) : score;
}

// The factor of sums relative to `max` when the softmax's maximum grows to `new_max`.
__device__ __forceinline__ float rescale(float max, float new_max) {
  return max == -INFINITY ? 0.0f : expf(max - new_max);
}

// What sums relative to `max` are multiplied by at the end: the scale of values / (sum of
// exponentials), where the head's sink is one more score, without a value.
__device__ __forceinline__ float normalizer(const AttentionParams& p, int64_t head, float max,
                                            float sum) {
  if (p.sinks == nullptr) return p.value_scale / sum;
  const float sink = p.sinks[head];
  const float top = fmaxf(max, sink);
  const float scale = rescale(max, top);
  return p.value_scale * scale / (sum * scale + expf(sink - top));
}

__device__ __forceinline__ void store_attended(const AttentionParams& p, int64_t token,
                                               int64_t head, int64_t channel, float value) {
  const int64_t at = token * p.out_stride + head * p.value_dim + channel;
  if (p.out_is_bf16) {
    static_cast<bf16*>(p.out)[at] = device_from_f32<bf16>(value);
  } else {
    static_cast<float*>(p.out)[at] = value;
  }
}

TRIREME_HD inline int64_t partial_index(const AttentionParams& p, int64_t token, int64_t head,
                                        int64_t split) {
  return (token * p.n_heads + head) * p.plan.n_splits + split;
}

}  // namespace trireme::kernels::cuda
