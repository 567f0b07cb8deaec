// The op vocabulary: every computation that a model needs, as flag-free argument structs with shapes.
//
// `reference/` is the specification in plain fp32 loops, `cpu/` and `cuda/` are backends (backend.h). Activations are
// f32 or bf16 as each op says; sums are in f32. On the CPU every op is batch-invariant: a row's result depends on
// that row alone, bit for bit, whatever other rows are in the call and however a sequence was cut into chunks.
// Shapes are checked at the door with CHECK: a wrong shape is our own bug, never bad input.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace trireme::kernels {

class PackedWeight;  // backend.h

// out[i] = table[ids[i] - first_id] as f32, or zeros where the id is not in [first_id, first_id + n_rows): a
// vocabulary-sharded embedding, summed over the tp group afterwards.
struct EmbeddingArgs {
  TensorView ids;    // [n_tokens] i32
  TensorView table;  // [n_rows, hidden] f32|f16|bf16
  int32_t first_id = 0;
  TensorView out;  // [n_tokens, hidden] f32
};

// out = x / sqrt(mean(x^2) + eps) * weight.  Source: Zhang & Sennrich, arXiv:1910.07467.
struct RmsNormArgs {
  TensorView x;       // [n_tokens, hidden] f32
  TensorView weight;  // [hidden] f32
  float eps = 0;
  TensorView out;  // [n_tokens, hidden] f32|bf16
};

// residual += delta; out = rms_norm(residual). One pass over memory for the step between two blocks.
struct AddRmsNormArgs {
  TensorView residual;  // [n_tokens, hidden] f32, updated
  TensorView delta;     // [n_tokens, hidden] f32
  TensorView weight;    // [hidden] f32
  float eps = 0;
  TensorView out;  // [n_tokens, hidden] f32|bf16
};

// y += x, elementwise.
struct AddArgs {
  TensorView x;  // [n_tokens, hidden] f32
  TensorView y;  // [n_tokens, hidden] f32, updated
};

// out[i, o] = sum_k x[i, k] * weight[o, k] + bias[o]. x is f32 or bf16: the packed weight's compute dtype says how
// x is read (bf16 compute rounds f32 input once). One K order for every n_tokens.
struct LinearArgs {
  TensorView x;  // [n_tokens, in] f32|bf16
  const PackedWeight* weight = nullptr;  // [out, in]
  TensorView bias;                       // [out] f32, or undefined
  TensorView out;                        // [n_tokens, out] f32|bf16
};

// out[i, j] = silu(gate_up[i, j]) * gate_up[i, width + j].
struct SiluMulArgs {
  TensorView gate_up;  // [n_tokens, 2 * width] f32
  TensorView out;      // [n_tokens, width] f32|bf16
};

// Rotary position embedding in place: channel pairs (i, i + rotary_dim / 2) of every head are rotated by
// position * inv_freq[i]; channels at or beyond rotary_dim pass through. cos and sin are scaled by `scale`.
// Source: Su et al., arXiv:2104.09864, sec. 3.4.2, half-split layout.
struct RopeArgs {
  TensorView q;          // [n_tokens, n_heads, head_dim] f32, rotated in place
  TensorView k;          // [n_tokens, n_kv_heads, head_dim] f32, rotated in place
  TensorView positions;  // [n_tokens] i32
  TensorView inv_freq;   // [rotary_dim / 2] f32, radians per token
  float scale = 1;
};

// Writes each token's key and value into its slot of the paged cache, rounding to the cache's dtype.
// slot = block_id * block_size + offset in the block.
struct KvAppendArgs {
  TensorView k;        // [n_tokens, n_kv_heads, head_dim] f32
  TensorView v;        // [n_tokens, n_kv_heads, head_dim] f32
  TensorView slots;    // [n_tokens] i64
  TensorView k_cache;  // [n_blocks, n_kv_heads, block_size, head_dim] f32|f16|bf16
  TensorView v_cache;  // same
};

// Causal attention over the paged cache, for any mix of prefill chunks and decode rows: sequence s owns query rows
// [query_start[s], query_start[s+1]), which are its last positions; row i stands at position
// context_len[s] - n_queries(s) + i and sees keys 0..position. Each row walks the keys in tiles of 64 positions from 0,
// whatever the cut of queries, with an online softmax.  Source: Dao, arXiv:2307.08691; Kwon et al., arXiv:2309.06180.
struct PagedAttentionArgs {
  TensorView q;            // [n_tokens, n_heads, head_dim] f32
  TensorView k_cache;      // [n_blocks, n_kv_heads, block_size, head_dim] f32|f16|bf16
  TensorView v_cache;      // same
  TensorView block_table;  // [n_seqs, max_blocks] i32, block ids of each sequence in order
  TensorView query_start;  // [n_seqs + 1] i32
  TensorView context_len;  // [n_seqs] i32, keys of the sequence, this step's included
  float scale = 1;         // multiplies q.k
  TensorView out;          // [n_tokens, n_heads, head_dim] f32|bf16
};

// out[i] = x[rows[i]].
struct GatherRowsArgs {
  TensorView x;     // [n_rows, hidden] f32
  TensorView rows;  // [n_out] i32
  TensorView out;   // [n_out, hidden] f32
};

// max and log-sum-exp of each row: the halves of a sharded log-softmax that one small gather combines.
struct RowMaxLogSumExpArgs {
  TensorView x;            // [n_rows, width] f32
  TensorView max;          // [n_rows] f32
  TensorView sum_exp;      // [n_rows] f32, sum of exp(x - max)
};

}  // namespace trireme::kernels
