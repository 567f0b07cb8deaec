// LatentAttention: multi-head latent attention, of which one compressed row per token is cached.
//
// Keys and values are up-projections of the latent; the keys' one is absorbed into the queries and
// the values' one applied behind the attention, so that the cache is never expanded. Heads are cut
// over the group; the down-projections and the cache are whole on every rank. Immutable after
// loading; used by the rank's thread. Source: DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434,
// sec. 2.1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/layers/linear.h"
#include "worker/layers/pass.h"

namespace trireme::worker {

class LatentAttention {
 public:
  // Names under `prefix` ("self_attn.") are DeepSeek's; scores are scaled by the spec's
  // attention_scale.
  LatentAttention(PartLoader& in, const std::string& prefix);

  // h [n_tokens, hidden] -> out [n_tokens, hidden] f32, the same on every rank of the group.
  Status forward(const TensorView& h, const TensorView& out, Pass& pass) const;

 private:
  int64_t n_heads_;  // of this rank
  plan::MlaSpec mla_;
  float scale_;
  int32_t rope_;
  int64_t slot_;
  std::unique_ptr<kernels::PackedWeight> q_a_;  // only with q_rank
  DeviceTensor q_norm_;
  std::unique_ptr<kernels::PackedWeight> q_;     // this rank's heads, from the hidden state or q_a
  std::unique_ptr<kernels::PackedWeight> kv_a_;  // latent and rope key, whole
  DeviceTensor kv_norm_;
  std::vector<std::unique_ptr<kernels::PackedWeight>> key_up_;    // by head, transposed
  std::vector<std::unique_ptr<kernels::PackedWeight>> value_up_;  // by head
  RowParallelLinear o_;
};

}  // namespace trireme::worker
