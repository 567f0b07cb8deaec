// LatentAttention: multi-head latent attention, of which one compressed row per token is cached.
//
// Keys and values are up-projections of the latent. That of the keys is absorbed into the queries
// and that of the values applied behind the attention, so that the cache is never expanded: q.k =
// q.(W_uk c) = (W_uk^T q).c, and sum(p W_uv c) = W_uv sum(p c). Heads are cut over the group; the
// down-projections and the cache are whole on every rank. Immutable after loading; used by the
// rank's thread. Source: DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434, sec. 2.1.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/layers/linear.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/pass.h"

namespace trireme::worker {

// A matrix for each head, applied to all heads in one op.
class HeadMatrices {
 public:
  void add(std::unique_ptr<kernels::PackedWeight> matrix) {
    matrices_.push_back(matrix.get());
    owned_.push_back(std::move(matrix));
  }
  // Head h reads columns from h * x_stride on and writes those from h * out_stride on.
  void forward(const TensorView& x, int64_t x_stride, const TensorView& out, int64_t out_stride,
               Pass& pass) const {
    pass.ops().head_linear({.x = x,
                            .x_head_stride = x_stride,
                            .weights = matrices_,
                            .out = out,
                            .out_head_stride = out_stride},
                           pass.stream());
  }

 private:
  std::vector<std::unique_ptr<kernels::PackedWeight>> owned_;
  std::vector<const kernels::PackedWeight*> matrices_;
};

class LatentAttention {
 public:
  // Names under `prefix` ("self_attn.") are DeepSeek's; scores are scaled by the spec's
  // attention_scale.
  LatentAttention(PartLoader& in, const std::string& prefix);

  // h [n_tokens, hidden] -> out [n_tokens, hidden] f32, the same on every rank of the group.
  Status forward(const TensorView& h, const TensorView& out, Pass& pass) const;
  // This rank's term alone, for a caller that does more with it in `sum`.
  Status forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const;
  const TpSum& sum() const { return o_.sum(); }

 private:
  using Matrix = std::unique_ptr<kernels::PackedWeight>;

  void load_queries(PartLoader& in, const std::string& prefix);
  void load_latent(PartLoader& in, const std::string& prefix);
  // The queries in terms of the latent, rotated: [n_tokens, n_heads, kv_rank + rope_dim].
  TensorView queries(const TensorView& h, Pass& pass) const;
  // This step's rows of the cache.
  void append(const TensorView& h, Pass& pass) const;
  void rotate(const TensorView& heads, Pass& pass) const;

  int64_t n_heads_;  // of this rank
  plan::MlaSpec mla_;
  float scale_;
  int32_t rope_;  // index into the workspace's tables
  int64_t slot_;  // in the KV cache
  Matrix q_a_;    // [q_rank, hidden], only with q_rank
  DeviceTensor q_norm_;
  // From the hidden state, or from the normed q_rank channels:
  Matrix q_nope_;        // [n_heads * nope_dim, ..]
  HeadMatrices q_rope_;  // [rope_dim, ..]
  HeadMatrices key_up_;  // [kv_rank, nope_dim]: W_uk transposed
  Matrix kv_a_;          // [kv_rank + rope_dim, hidden]
  DeviceTensor kv_norm_;
  HeadMatrices value_up_;  // [value_dim, kv_rank]
  RowParallelLinear o_;
};

}  // namespace trireme::worker
