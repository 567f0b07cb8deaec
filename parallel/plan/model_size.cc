#include "parallel/plan/model_size.h"

#include <cmath>

#include "parallel/plan/parallel_plan.h"

namespace trireme::plan {
namespace {

int64_t norm_size(const ModelSpec& spec) { return int64_t{spec.hidden} * (spec.norm_bias ? 2 : 1); }

int64_t qk_norm_size(const ModelSpec& spec, const Share& share) {
  const int64_t d = spec.head_dim;
  switch (spec.qk_norm) {
    case QkNorm::kNone:
    case QkNorm::kUnweighted:
      return 0;
    case QkNorm::kHead:
      return 2 * d;
    case QkNorm::kEveryHead:
    case QkNorm::kProjection:
      return (share.heads + share.kv_heads) * d;
  }
  return 0;
}

int64_t attention_size(const ModelSpec& spec, const Share& share) {
  const int64_t hidden = spec.hidden;
  const int64_t q = share.heads * spec.head_dim;
  const int64_t kv = share.kv_heads * spec.head_dim;
  int64_t n = hidden * (2 * q + 2 * kv) + qk_norm_size(spec, share);
  if (spec.qkv_bias) n += q + 2 * kv;
  if (spec.o_bias) n += hidden;
  if (spec.sinks) n += share.heads;
  return n;
}

// The down-projections and their norms are whole on every rank, the rest is cut by heads.
int64_t latent_attention_size(const ModelSpec& spec, const Share& share) {
  const MlaSpec& mla = *spec.mla;
  const int64_t hidden = spec.hidden;
  const int64_t q_width = share.heads * (mla.nope_dim + mla.rope_dim);
  int64_t n = mla.q_rank == 0 ? hidden * q_width : mla.q_rank * (hidden + 1 + q_width);
  n += hidden * mla.latent_width() + mla.kv_rank;
  n += mla.kv_rank * share.heads * (mla.nope_dim + mla.value_dim);
  return n + share.heads * mla.value_dim * hidden;
}

int64_t mlp_size(const ModelSpec& spec, int64_t width) {
  const int64_t n_up = spec.gated_mlp ? 2 : 1;
  int64_t n = (n_up + 1) * spec.hidden * width;
  if (spec.mlp_bias) n += n_up * width + spec.hidden;
  return n;
}

LayerSize moe_size(const ModelSpec& spec, const Share& share) {
  const MoeSpec& moe = *spec.moe;
  LayerSize size;
  size.always = int64_t{moe.n_experts} * spec.hidden + 3 * share.shared_width * spec.hidden;
  if (moe.router_bias) size.always += moe.n_experts;
  if (moe.choice_bias) size.always += moe.n_experts;
  if (moe.shared_gate) size.always += spec.hidden;
  int64_t expert = 3 * share.expert_width * spec.hidden;
  if (moe.expert_bias) expert += 2 * share.expert_width + spec.hidden;
  size.routed = share.experts * expert;
  return size;
}

}  // namespace

Share Share::whole(const ModelSpec& spec) {
  const MoeSpec moe = spec.moe.value_or(MoeSpec{});
  return {spec.n_heads,  spec.n_kv_heads, spec.intermediate,
          moe.n_experts, moe.width,       moe.shared_width};
}

Share Share::of(const RankPlan& rank) {
  return {rank.heads.size(),   rank.kv_heads.size(),       rank.intermediate.size(),
          rank.experts.size(), rank.expert_columns.size(), rank.shared_columns.size()};
}

LayerSize layer_size(const ModelSpec& spec, const LayerSpec& layer, const Share& share) {
  LayerSize size;
  if (layer.moe) {
    size = moe_size(spec, share);
  } else {
    size.always = mlp_size(spec, share.intermediate);
  }
  size.always += spec.mla ? latent_attention_size(spec, share) : attention_size(spec, share);
  size.always += spec.norms_per_layer * norm_size(spec);
  return size;
}

double routed_share(const ModelSpec& spec, double n_tokens) {
  if (!spec.moe) return 0;
  return 1 - std::pow(1 - static_cast<double>(spec.moe->top_k) / spec.moe->n_experts, n_tokens);
}

int64_t kv_elements(const ModelSpec& spec, int64_t n_kv_heads) {
  return spec.mla ? spec.mla->latent_width() : 2 * n_kv_heads * spec.head_dim;
}

int64_t final_norm_size(const ModelSpec& spec) { return norm_size(spec); }

int64_t embedding_rows(const ModelSpec& spec) {
  return int64_t{spec.n_position_rows} + (spec.encoder ? spec.encoder->n_token_types : 0);
}

int64_t ModelSpec::n_parameters() const {
  const int64_t matrix = int64_t{vocab} * hidden;
  int64_t n = matrix * (tied_embeddings ? 1 : 2) + embedding_rows(*this) * hidden;
  n += final_norm_size(*this);
  for (const LayerSpec& layer : layers) n += layer_size(*this, layer, Share::whole(*this)).total();
  return n;
}

int64_t ModelSpec::n_active_parameters() const {
  int64_t idle = tied_embeddings ? 0 : int64_t{vocab} * hidden;
  for (const LayerSpec& layer : layers) {
    if (!layer.moe) continue;
    const int64_t routed = layer_size(*this, layer, Share::whole(*this)).routed;
    idle += routed / moe->n_experts * (moe->n_experts - moe->top_k);
  }
  return n_parameters() - idle;
}

int64_t ModelSpec::weight_bytes(DType dtype) const {
  return n_parameters() * static_cast<int64_t>(size_of(dtype));
}

int64_t ModelSpec::kv_bytes_per_token(DType kv_dtype) const {
  return n_layers() * kv_elements(*this, n_kv_heads) * static_cast<int64_t>(size_of(kv_dtype));
}

}  // namespace trireme::plan
