// The op vocabulary: every computation that a model needs, as flag-free argument structs with
// shapes.
//
// `reference/` is the specification in plain fp32 loops, `cpu/` and `cuda/` are backends
// (backend.h). Activations are f32 or bf16 as each op says; sums are in f32. On the CPU every op is
// batch-invariant: a row's result depends on that row alone, bit for bit, whatever other rows are
// in the call and however a sequence was cut into chunks. Shapes are checked at the door with
// CHECK: a wrong shape is our own bug, never bad input.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/activation.h"
#include "kernels/tensor.h"

namespace trireme::kernels {

class PackedWeight;  // backend.h

// out[i] = table[ids[i] - first_id] as f32, or zeros where the id is not in [first_id, first_id +
// n_rows): a vocabulary-sharded embedding, summed over the tp group afterwards.
struct EmbeddingArgs {
  TensorView ids;    // [n_tokens] i32
  TensorView table;  // [n_rows, hidden] f32|f16|bf16
  int32_t first_id = 0;
  TensorView out;  // [n_tokens, hidden] f32
};

// Elementwise ops and norms take matrices whose rows may be strided.

// out = x / sqrt(mean(x^2) + eps) * weight.  Source: Zhang & Sennrich, arXiv:1910.07467.
struct RmsNormArgs {
  TensorView x;       // [n_tokens, hidden] f32
  TensorView weight;  // [hidden] f32
  float eps = 0;
  TensorView out;  // [n_tokens, hidden] f32|bf16
};

// residual += delta_scale * delta; out = rms_norm(residual). One pass over memory for the step
// between two blocks.
struct AddRmsNormArgs {
  TensorView residual;  // [n_tokens, hidden] f32, updated
  TensorView delta;     // [n_tokens, hidden] f32
  TensorView weight;    // [hidden] f32
  float eps = 0;
  TensorView out;  // [n_tokens, hidden] f32|bf16
  float delta_scale = 1;
};

// out = (x - mean) / sqrt(var + eps) * weight + bias, var being the mean of (x - mean)^2. May be in
// place.
// Source: Ba et al., arXiv:1607.06450.
struct LayerNormArgs {
  TensorView x;       // [n_tokens, hidden] f32
  TensorView weight;  // [hidden] f32
  TensorView bias;    // [hidden] f32, or undefined: 0
  float eps = 0;
  TensorView out;  // [n_tokens, hidden] f32|bf16
};

// RMS norm of each head's channels on their own, in place.
struct HeadRmsNormArgs {
  TensorView x;       // [n_tokens, n_heads, head_dim] f32
  TensorView weight;  // [head_dim] or [n_heads, head_dim] f32, or undefined: 1
  float eps = 0;
};

// Layer norm without bias of each head's channels on their own, in place.
struct HeadLayerNormArgs {
  TensorView x;       // [n_tokens, n_heads, head_dim] f32
  TensorView weight;  // [head_dim] or [n_heads, head_dim] f32, or undefined: 1
  float eps = 0;
};

// The two halves of an RMS norm whose width is cut over ranks: each sums the squares of its
// columns, the sums are added over the group, and each then norms its columns.
struct RowSumSquaresArgs {
  TensorView x;    // [n, width] f32
  TensorView out;  // [n, 1] f32
};

// x *= weight / sqrt(sum_squares / total_width + eps), in place.
struct RmsNormRowsArgs {
  TensorView x;             // [n, width] f32, this rank's columns
  TensorView sum_squares;   // [n, 1] f32, over all ranks
  TensorView weight;        // [width] f32
  int64_t total_width = 0;  // columns of all ranks
  float eps = 0;
};

// y += scale * x, elementwise.
struct AddArgs {
  TensorView x;  // [n_tokens, hidden] f32
  TensorView y;  // [n_tokens, hidden] f32, updated
  float scale = 1;
};

// x *= factor, in place.
struct ScaleArgs {
  TensorView x;  // [n, width] f32
  float factor = 1;
};

// x = cap * tanh(x / cap), in place.
struct SoftcapArgs {
  TensorView x;   // [n, width] f32
  float cap = 0;  // > 0
};

// x[i] *= sigmoid(gate[i]), in place.
struct SigmoidScaleRowsArgs {
  TensorView x;     // [n, width] f32
  TensorView gate;  // [n, 1] f32
};

// x[i] *= 1 + attn_scale * log1p(floor((positions[i] + 1) / floor_scale)), in place: the attention
// temperature that Llama 4 gives the queries of layers without rotary positions.
struct PositionScaleArgs {
  TensorView x;           // [n_tokens, n_heads, head_dim] f32
  TensorView positions;   // [n_tokens] i32
  float floor_scale = 0;  // in tokens, > 0
  float attn_scale = 0;
};

// out[i, o] = sum_k x[i, k] * weight[o, k] + bias[o]. x is f32 or bf16: the packed weight's compute
// dtype says how x is read (bf16 compute rounds f32 input once). One K order for every n_tokens. A
// weight of low-bit codes (low_bit.h) is multiplied as what the codes stand for, unrounded.
struct LinearArgs {
  TensorView x;                          // [n_tokens, in] f32|bf16
  const PackedWeight* weight = nullptr;  // [out, in]
  TensorView bias;                       // [out] f32, or undefined
  TensorView out;                        // [n_tokens, out] f32|bf16
};

// A linear of its own for each head, on columns of x to columns of out: out[i, h * out_head_stride
// + o] = sum_k x[i, h * x_head_stride + k] * weights[h][o, k], as in `linear`. Columns of out
// between the heads' are left as they are.
struct HeadLinearArgs {
  TensorView x;                                  // [n_tokens, columns] f32|bf16
  int64_t x_head_stride = 0;                     // 0: all heads have the same input
  std::span<const PackedWeight* const> weights;  // [n_heads], each [out, in]
  TensorView out;                                // [n_tokens, columns] f32|bf16
  int64_t out_head_stride = 0;
};

// out = activation(x), elementwise.
struct ActivationArgs {
  TensorView x;  // [n_tokens, width] f32
  Activation activation = Activation::kSilu;
  TensorView out;  // [n_tokens, width] f32|bf16
};

// out = activation(gate) * up.  Source: Shazeer, arXiv:2002.05202.
struct GatedActivationArgs {
  TensorView gate_up;  // [n_tokens, 2 * width] f32, gate then up
  Activation activation = Activation::kSilu;
  TensorView out;  // [n_tokens, width] f32|bf16
};

// The SwiGLU of gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit), out = (u + 1) * g *
// sigmoid(alpha * g).
struct ClampedSwigluArgs {
  TensorView gate_up;  // [n_tokens, 2 * width] f32, gate then up
  float alpha = 1.702f;
  float limit = 7;
  TensorView out;  // [n_tokens, width] f32|bf16
};

// Which channels of a head rotate together.
enum class RopeLayout : uint8_t {
  kHalfSplit,    // i and i + rotary_dim / 2
  kInterleaved,  // 2 i and 2 i + 1
};

// Rotary position embedding in place: the i-th channel pair of every head is rotated by position *
// inv_freq[set, i]; channels at or beyond rotary_dim pass through. cos and sin are scaled by
// `scale`. Several sets of frequencies serve models that choose one by the length of the sequence
// (longrope).  Source: Su et al., arXiv:2104.09864, sec. 3.4.2.
struct RopeArgs {
  TensorView q;          // [n_tokens, n_heads, head_dim] f32, rotated in place; or undefined
  TensorView k;          // [n_tokens, n_kv_heads, head_dim] f32, rotated in place; or undefined
  TensorView positions;  // [n_tokens] i32
  TensorView inv_freq;   // [rotary_dim / 2] or [n_sets, rotary_dim / 2] f32, radians per token
  float scale = 1;
  RopeLayout layout = RopeLayout::kHalfSplit;
  TensorView set_of_token;  // [n_tokens] i32, the set that rotates the row; undefined: set 0
};

// Writes each token's key and value into its slot of the paged cache, rounding to the cache's
// dtype. slot = block_id * block_size + offset in the block.
//
// A cache of e4m3 holds codes that stand for e4m3(code) * scale: x is stored as the code nearest to
// x * (1 / scale), and as +-448 beyond its range, so that no cached element is ever infinite or
// NaN. Scales of keys and of values are > 0, and 1 for every other dtype.
struct KvAppendArgs {
  TensorView k;        // [n_tokens, n_kv_heads, head_dim] f32
  TensorView v;        // [n_tokens, n_kv_heads, head_dim] f32
  TensorView slots;    // [n_tokens] i64
  TensorView k_cache;  // [n_blocks, n_kv_heads, block_size, head_dim] f32|f16|bf16|e4m3
  TensorView v_cache;  // same
  float k_scale = 1;
  float v_scale = 1;
};

// What lies between the projection of q, k and v and attention, in one pass: head_rms_norm of q and
// of k by weights of a head's width, rope of both, kv_append of k and v. The same numbers as those
// ops one after the other; k is left in any state.
struct NormRopeAppendArgs {
  TensorView q;       // [n_tokens, n_heads, head_dim] f32, in place
  TensorView k;       // [n_tokens, n_kv_heads, head_dim] f32
  TensorView v;       // same
  TensorView q_norm;  // [head_dim] f32, or undefined: q is not normed
  TensorView k_norm;  // the same of k
  float norm_eps = 0;
  TensorView positions;  // [n_tokens] i32
  TensorView inv_freq;   // as in rope, or undefined: nothing is rotated
  float rope_scale = 1;  //
  RopeLayout layout = RopeLayout::kHalfSplit;
  TensorView set_of_token;  // [n_tokens] i32, or undefined: set 0
  TensorView slots;         // as in kv_append
  TensorView k_cache;       //
  TensorView v_cache;       //
  float k_scale = 1;        //
  float v_scale = 1;        //
};

// Its parts. The rotation is none where there are no frequencies.
inline RopeArgs rope_part(const NormRopeAppendArgs& args) {
  return {.q = args.q,
          .k = args.k,
          .positions = args.positions,
          .inv_freq = args.inv_freq,
          .scale = args.rope_scale,
          .layout = args.layout,
          .set_of_token = args.set_of_token};
}
inline KvAppendArgs append_part(const NormRopeAppendArgs& args) {
  return {.k = args.k,
          .v = args.v,
          .slots = args.slots,
          .k_cache = args.k_cache,
          .v_cache = args.v_cache,
          .k_scale = args.k_scale,
          .v_scale = args.v_scale};
}

// Causal attention over the paged cache, for any mix of prefill chunks and decode rows: sequence s
// owns query rows [query_start[s], query_start[s+1]), which are its last positions; row i stands at
// position p = context_len[s] - n_queries(s) + i and sees the keys 0..p, or the last of them. Each
// row walks the keys in tiles of 64 positions from 0, whatever the cut of queries, with an online
// softmax. Blocks of which no query of the call sees a key are not read, and the table's entries
// for them may be anything. Encoders are not causal: each row sees all keys of its sequence.
// Source: Dao, arXiv:2307.08691; Kwon et al., arXiv:2309.06180.
struct PagedAttentionArgs {
  TensorView q;            // [n_tokens, n_heads, head_dim] f32
  TensorView k_cache;      // [n_blocks, n_kv_heads, block_size, head_dim] f32|f16|bf16|e4m3
  TensorView v_cache;      // same
  TensorView block_table;  // [n_seqs, max_blocks] i32, block ids of each sequence in order
  TensorView query_start;  // [n_seqs + 1] i32
  TensorView context_len;  // [n_seqs] i32, keys of the sequence, this step's included
  float scale = 1;         // multiplies q.k
  TensorView out;          // [n_tokens, n_heads, head_dim] f32|bf16
  int32_t window = 0;      // position p sees keys j > p - window only; 0: all
  int32_t chunk = 0;       // and keys j >= p - p % chunk only; 0: all
  float softcap = 0;       // scores become softcap * tanh(score / softcap) before masking; 0: none
  // [n_heads] f32, or undefined: one more score for each head in the softmax, without a value.
  // Source: Xiao et al., arXiv:2309.17453.
  TensorView sinks;
  bool causal = true;  // false: neither window nor chunk
  float k_scale = 1;   // of the cache, as in kv_append
  float v_scale = 1;   //
};

// Writes each token's compressed key-value row, [latent | rope_key], into its slot of the paged
// cache of multi-head latent attention, rounding to the cache's dtype. Slots, and the scale of
// e4m3, as in kv_append.
struct LatentAppendArgs {
  TensorView latent;    // [n_tokens, rank] f32
  TensorView rope_key;  // [n_tokens, rope_dim] f32
  TensorView slots;     // [n_tokens] i64
  TensorView cache;     // [n_blocks, block_size, rank + rope_dim] f32|f16|bf16|e4m3
  float cache_scale = 1;
};

// Causal attention over compressed rows: all heads see the same keys, [latent | rope_key], whose
// latent part is also the value. The up-projections of keys and values are absorbed into q and into
// what follows. Tiles and sequences as in paged_attention.  Source: DeepSeek-AI, arXiv:2405.04434,
// sec. 2.1.
struct LatentAttentionArgs {
  TensorView q;            // [n_tokens, n_heads, rank + rope_dim] f32
  TensorView cache;        // [n_blocks, block_size, rank + rope_dim] f32|f16|bf16|e4m3
  TensorView block_table;  // [n_seqs, max_blocks] i32
  TensorView query_start;  // [n_seqs + 1] i32
  TensorView context_len;  // [n_seqs] i32
  int64_t rank = 0;        // channels of the value
  float scale = 1;         // multiplies q.key
  TensorView out;          // [n_tokens, n_heads, rank] f32|bf16
  float cache_scale = 1;
};

// Mixture of experts, one layer in five ops: route -> dispatch -> gather -> grouped_linear,
// activation, grouped_linear -> combine. Which rows go where stays on the device.

// How logits become the weights of experts.
enum class ExpertScoring : uint8_t {
  kSoftmax,          // over all experts, then choose
  kSoftmaxOfChosen,  // choose by logits, softmax over the chosen
  kSigmoid,          // of each expert on its own
};

// What a group of neighbouring experts is chosen by.
enum class GroupScore : uint8_t {
  kNone,       // groups are not chosen
  kMax,        // its best expert's score.  Source: DeepSeek-AI, arXiv:2405.04434, sec. 2.2.2
  kTopTwoSum,  // the sum of its two best scores.  Source: DeepSeek-AI, arXiv:2412.19437, sec. 2.1.2
};

// Chooses top_k experts for each token, by score plus choice_bias, from the chosen groups only; the
// bias does not enter the weights. Among equal scores the lower id comes first. Where nothing is
// added to scores, logits order the experts: they do so like scores, but do not run into each other
// at the ends of the scale.
struct MoeRouteArgs {
  TensorView logits;       // [n_tokens, n_experts] f32
  TensorView choice_bias;  // [n_experts] f32, or undefined
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  GroupScore group_score = GroupScore::kNone;
  int32_t n_groups = 1;
  int32_t n_chosen_groups = 1;
  bool renormalize = false;  // weights of the chosen are divided by their sum
  float weight_scale = 1;    // multiplies the weights at last
  TensorView expert_ids;     // [n_tokens, top_k] i32, best first
  TensorView weights;        // [n_tokens, top_k] f32
};

// Sorts a step's choices that fall on experts [first_expert, first_expert + n_local_experts) by
// expert, then token, then choice: row r of the sorted order is a token's input to one expert.
struct MoeDispatchArgs {
  TensorView expert_ids;  // [n_tokens, top_k] i32
  int32_t first_expert = 0;
  int32_t n_local_experts = 0;
  TensorView token_of_row;   // [n_tokens * top_k] i32; rows from expert_start[n_local_experts] on
                             // are left as they are
  TensorView expert_start;   // [n_local_experts + 1] i32, first row of each expert, and the end
  TensorView row_of_choice;  // [n_tokens, top_k] i32, or -1: another rank's expert
};

// out[r] = x[token_of_row[r]], times the weight of that choice where weights are given (Llama 4
// scales the input).
struct MoeGatherArgs {
  TensorView x;              // [n_tokens, hidden] f32|bf16
  TensorView token_of_row;   // as moe_dispatch made them
  TensorView expert_start;   //
  TensorView row_of_choice;  //
  TensorView weights;        // [n_tokens, top_k] f32, or undefined: 1
  TensorView out;  // [n_tokens * top_k, hidden] f32|bf16; unused rows are left as they are
};

// Rows [expert_start[e], expert_start[e + 1]) go through expert e's linear layer, as in `linear`: a
// row's result does not depend on how many rows its expert has. Weights of experts without rows are
// not read.
struct GroupedLinearArgs {
  TensorView x;                                  // [n_rows, in] f32|bf16
  std::span<const PackedWeight* const> weights;  // [n_local_experts], each [out, in]
  TensorView bias;                               // [n_local_experts, out] f32, or undefined
  TensorView expert_start;                       // [n_local_experts + 1] i32
  TensorView out;  // [n_rows, out] f32; unused rows are left as they are
};

// out[t] = the sum over choices c, in order, of weights[t, c] * y[row_of_choice[t, c]], without
// absent choices: this rank's part of the layer's output.
struct MoeCombineArgs {
  TensorView y;              // [n_tokens * top_k, hidden] f32
  TensorView row_of_choice;  // [n_tokens, top_k] i32
  TensorView weights;        // [n_tokens, top_k] f32, or undefined: 1
  TensorView out;            // [n_tokens, hidden] f32, overwritten
};

// out[i] = x[rows[i]].
struct GatherRowsArgs {
  TensorView x;     // [n_rows, hidden] f32
  TensorView rows;  // [n_out] i32
  TensorView out;   // [n_out, hidden] f32
};

// max and log-sum-exp of rows: the halves of a sharded log-softmax that one small gather combines.
struct RowMaxLogSumExpArgs {
  TensorView x;                    // [n_rows, width] f32
  TensorView max;                  // [n] f32
  TensorView sum_exp;              // [n] f32, sum of exp((x - max) * inverse_temperature)
  TensorView rows;                 // [n] i32, which rows of x; undefined: all
  TensorView inverse_temperature;  // [n] f32, undefined: 1
};

// The best columns of rows, so that a vocabulary's logits need not leave the device: by value, or
// by the score of a draw, value * inverse_temperature + Gumbel noise of (key, first_id + column)
// (counter_random.h), whose best is a draw from the row's softmax. Best first, ties to the lower
// column; NaN and -inf are never among them. A score is within kScoreError * (|score| + 40) of the
// exact one: who needs the exact best looks again at those that it could be.
inline constexpr float kScoreError = 1e-6f;
inline constexpr int64_t kMaxRowCandidates = 512;
struct RowCandidatesArgs {
  TensorView x;                    // [n_rows, width] f32, width below 2^24
  TensorView rows;                 // [n] i32, which rows of x
  TensorView inverse_temperature;  // [n] f32, or undefined: by value
  TensorView keys;                 // [n] i64, where temperatures are given
  int32_t first_id = 0;
  TensorView ids;     // [n, k] i32, k <= kMaxRowCandidates: first_id + column; -1 behind the last
  TensorView scores;  // [n, k] f32
  TensorView values;  // [n, k] f32, of x
};

// How many columns of a row come before a token in the order of row_candidates by value: those with
// a greater value, and those with the same and a lower id.
struct CountBeforeArgs {
  TensorView x;       // [n_rows, width] f32, width below 2^24
  TensorView rows;    // [n] i32, which rows of x
  TensorView ids;     // [n] i32, the token
  TensorView values;  // [n] f32, its value, which may be another rank's
  int32_t first_id = 0;
  TensorView counts;  // [n] i32
};

// Tokens that stay on the device, where the step behind them reads them before the host knows them:
// from what row_candidates found on each rank. The best of a row's scores, ties to the lower id.
struct BestTokensArgs {
  TensorView ids;     // [n_ranks, n * k] i32: a rank's k candidates of each of n rows, best first
  TensorView scores;  // [n_ranks, n * k] f32
  TensorView rows;    // [n] i32, where in `tokens`
  TensorView tokens;  // [n_tokens] i32; 0 where a row has no candidate
};

// Draws from the leading candidates by value that min_p, top_k, and of what those left top_p, keep
// (0, 0 and 1: off), likeliest first, among the k best of all ranks: of these the best
// value * inverse_temperature + Gumbel noise of (key, id). In f32, and of no more candidates than
// there are: near the exact draw, which who needs it decides again.
struct DrawTokensArgs {
  TensorView ids;                  // as above, k <= kMaxRowCandidates
  TensorView values;               // [n_ranks, n * k] f32
  TensorView sum_exp;              // [n_ranks, n] f32, RowMaxLogSumExpArgs of a rank's whole row;
                                   // undefined: no row's top_p is of the whole row
  TensorView inverse_temperature;  // [n] f32
  TensorView keys;                 // [n] i64
  TensorView top_k;                // [n] i32
  TensorView top_p;                // [n] f32
  TensorView min_p;                // [n] f32
  TensorView rows;                 // [n] i32, where in `tokens`
  TensorView tokens;               // [n_tokens] i32; 0 where a row has no candidate
};

// ids[i] = tokens[sources[i]], where there is a source.
struct PlaceTokensArgs {
  TensorView tokens;   // [n_tokens] i32
  TensorView sources;  // [n] i32, -1: ids[i] stays
  TensorView ids;      // [n] i32
};

}  // namespace trireme::kernels
