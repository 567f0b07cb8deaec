// Attention: grouped-query attention over the paged cache, from a normed input to what it adds to
// the residual stream.
//
// The heads are cut over the group; the output projection sums. Which keys a row sees, which rope
// turns it and how scores are scaled is the layer's spec. How q, k and v are stored differs by
// family: the makers below name the usual layouts. Immutable after loading; used by the rank's
// thread. Source: Ainslie et al., arXiv:2305.13245.
#pragma once

#include <memory>
#include <string>

#include "worker/layers/linear.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/pass.h"

namespace trireme::worker {

// Weights of an RMS norm of each head on its own, [head_dim] f32.
struct HeadNormWeights {
  TensorView q;
  TensorView k;
  float eps = 0;
};

// A norm of q and k between projection and rotation.
class QkNorm {
 public:
  virtual ~QkNorm() = default;
  // Where the norm is of that kind: what the op that also rotates and caches takes; `forward` is
  // not called then. Undefined for any other.
  virtual HeadNormWeights head_weights() const { return {}; }
  // q [n_tokens, n_heads, head_dim], k [n_tokens, n_kv_heads, head_dim], f32, in place.
  virtual Status forward(const TensorView& q, const TensorView& k, Pass& pass) const = 0;
};

class Attention {
 public:
  // `qkv` yields this rank's q heads, then its k heads, then its v heads. `sinks` names the learned
  // score per head that joins each softmax, where the spec has them.
  Attention(PartLoader& in, ColumnParallelLinear qkv, RowParallelLinear o,
            std::unique_ptr<QkNorm> qk_norm = nullptr, const std::string& sinks = "");

  // h [n_tokens, hidden] -> out [n_tokens, hidden] f32, the same on every rank of the group.
  Status forward(const TensorView& h, const TensorView& out, Pass& pass) const;
  // This rank's term alone, for a caller that does more with it in `sum`.
  Status forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const;
  const TpSum& sum() const { return o_.sum(); }

 private:
  void attend(const TensorView& q, const LayerKv& kv, const TensorView& out, Pass& pass) const;

  int64_t n_heads_;     // of this rank
  int64_t n_kv_heads_;  // of this rank
  int64_t head_dim_;
  float scale_;
  float softcap_;
  int32_t window_;  // 0: none
  int32_t chunk_;   // 0: none
  bool causal_;
  int32_t rope_;  // index into the workspace's tables, or -1
  int64_t slot_;  // in the KV cache
  ColumnParallelLinear qkv_;
  RowParallelLinear o_;
  std::unique_ptr<QkNorm> qk_norm_;
  DeviceTensor sinks_;  // [n_heads] of this rank, or undefined
};

// Three matrices; biases as the spec says.
ColumnParallelLinear separate_qkv(PartLoader& in, const std::string& q, const std::string& k,
                                  const std::string& v);
// One matrix: the rows of all q heads, of all k heads, of all v heads.
ColumnParallelLinear fused_qkv(PartLoader& in, const std::string& name);
// One matrix, grouped by key-value head: the q heads that share it, then its k, then its v.
ColumnParallelLinear grouped_qkv(PartLoader& in, const std::string& name);
// The output projection [hidden, n_heads * head_dim]; its bias as the spec says.
RowParallelLinear attention_output(PartLoader& in, const std::string& name);

}  // namespace trireme::worker
