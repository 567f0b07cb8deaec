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

// Of `n_in` inputs, this rank's of `of_in`.
struct Inputs {
  int64_t n_in;
  int64_t of_in;
};

// Whether a matrix stays plain where others stay low-bit: as the checkpoint has it, or because
// its inputs are cut inside a group.
bool stays_plain(const ModelSpec& spec, const Inputs& inputs, bool routed) {
  const QuantizationSpec& q = spec.quantization;
  if (!stays_low_bit(q)) return false;
  if (q.layout == QuantLayout::kMxfp4 && !routed) return true;
  const int64_t group = low_bit_group(q);
  return group > 0 && inputs.n_in < inputs.of_in && inputs.n_in % group != 0;
}

void add_matrix(const ModelSpec& spec, int64_t n_out, const Inputs& inputs, LayerSize* size) {
  const int64_t n = n_out * inputs.n_in;
  size->always += n;
  if (stays_plain(spec, inputs, /*routed=*/false)) size->always_plain += n;
}
void add_whole(const ModelSpec& spec, int64_t n_out, int64_t n_in, LayerSize* size) {
  add_matrix(spec, n_out, {n_in, n_in}, size);
}
void add_plain(int64_t n, LayerSize* size) {
  size->always += n;
  size->always_plain += n;
}

void add_attention(const ModelSpec& spec, const Share& share, LayerSize* size) {
  const int64_t hidden = spec.hidden;
  const int64_t q = share.heads * spec.head_dim;
  const int64_t kv = share.kv_heads * spec.head_dim;
  add_whole(spec, q + 2 * kv, hidden, size);
  add_matrix(spec, hidden, {q, int64_t{spec.n_heads} * spec.head_dim}, size);
  add_plain(qk_norm_size(spec, share), size);
  if (spec.qkv_bias) add_plain(q + 2 * kv, size);
  if (spec.o_bias) add_plain(hidden, size);
  if (spec.sinks) add_plain(share.heads, size);
}

// The down-projections and their norms are whole on every rank, the rest is cut by heads.
void add_latent_attention(const ModelSpec& spec, const Share& share, LayerSize* size) {
  const MlaSpec& mla = *spec.mla;
  const int64_t hidden = spec.hidden;
  const int64_t q_width = share.heads * (mla.nope_dim + mla.rope_dim);
  if (mla.q_rank == 0) {
    add_whole(spec, q_width, hidden, size);
  } else {
    add_whole(spec, mla.q_rank, hidden, size);
    add_whole(spec, q_width, mla.q_rank, size);
  }
  add_whole(spec, mla.latent_width(), hidden, size);
  add_whole(spec, share.heads * (mla.nope_dim + mla.value_dim), mla.kv_rank, size);
  const int64_t values = share.heads * mla.value_dim;
  add_matrix(spec, hidden, {values, int64_t{spec.n_heads} * mla.value_dim}, size);
  add_plain(mla.q_rank + mla.kv_rank, size);
}

void add_mlp(const ModelSpec& spec, int64_t width, LayerSize* size) {
  const int64_t n_up = spec.gated_mlp ? 2 : 1;
  add_whole(spec, n_up * width, spec.hidden, size);
  add_matrix(spec, spec.hidden, {width, spec.intermediate}, size);
  if (spec.mlp_bias) add_plain(n_up * width + spec.hidden, size);
}

void add_moe(const ModelSpec& spec, const Share& share, LayerSize* size) {
  const MoeSpec& moe = *spec.moe;
  add_whole(spec, 2 * share.shared_width, spec.hidden, size);
  add_matrix(spec, spec.hidden, {share.shared_width, moe.shared_width}, size);
  add_plain(int64_t{moe.n_experts} * spec.hidden, size);
  if (moe.router_bias) add_plain(moe.n_experts, size);
  if (moe.choice_bias) add_plain(moe.n_experts, size);
  if (moe.shared_gate) add_plain(spec.hidden, size);
  const int64_t down = share.experts * share.expert_width * spec.hidden;
  const int64_t biases =
      moe.expert_bias ? share.experts * (2 * share.expert_width + spec.hidden) : 0;
  size->routed = 3 * down + biases;
  size->routed_plain = biases;
  if (stays_plain(spec, {share.expert_width, moe.width}, /*routed=*/true)) {
    size->routed_plain += down;
  }
}

// Of a weight that stays low-bit, its share of scales and zero points included.
double low_bit_bytes(const ModelSpec& spec) {
  const QuantizationSpec& q = spec.quantization;
  const int64_t group = low_bit_group(q) == 0 ? spec.hidden : low_bit_group(q);
  const int64_t row =
      kernels::low_bit_row_bytes(low_bit_code(q), spec.hidden, group, has_low_bit_zeros(q));
  return static_cast<double>(row) / spec.hidden;
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
    add_moe(spec, share, &size);
  } else {
    add_mlp(spec, share.intermediate, &size);
  }
  if (spec.mla) {
    add_latent_attention(spec, share, &size);
  } else {
    add_attention(spec, share, &size);
  }
  add_plain(spec.norms_per_layer * norm_size(spec), &size);
  return size;
}

double matrix_weight_bytes(const ModelSpec& spec, const HeldWeights& held, bool routed) {
  const bool keeps = held.keep_low_bit && stays_low_bit(spec.quantization) &&
                     !stays_plain(spec, {spec.hidden, spec.hidden}, routed);
  return keeps ? low_bit_bytes(spec) : static_cast<double>(size_of(held.dtype));
}

LayerBytes layer_bytes(const ModelSpec& spec, const LayerSize& size, const HeldWeights& held) {
  const auto plain = static_cast<double>(size_of(held.dtype));
  const auto bytes = [&](int64_t n, int64_t n_plain, bool routed) {
    return static_cast<double>(n - n_plain) * matrix_weight_bytes(spec, held, routed) +
           static_cast<double>(n_plain) * plain;
  };
  return {bytes(size.always, size.always_plain, false),
          bytes(size.routed, size.routed_plain, true)};
}

int64_t held_weight_bytes(const ModelSpec& spec, const HeldWeights& held) {
  double bytes = static_cast<double>(spec.weight_bytes(held.dtype));
  for (const LayerSpec& layer : spec.layers) {
    const LayerSize size = layer_size(spec, layer, Share::whole(spec));
    bytes += layer_bytes(spec, size, held).total() -
             layer_bytes(spec, size, {.dtype = held.dtype}).total();
  }
  return static_cast<int64_t>(bytes);
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
