#include "worker/layers/attention.h"

namespace trireme::worker {

namespace {

int32_t span_of(const plan::LayerSpec& layer, plan::AttentionKind kind) {
  return layer.attention == kind ? layer.span : 0;
}

// Rows of a fused matrix of q, k and v heads, by ranges of heads in the order in which it stores
// them; the same of its bias.
ColumnParallelLinear rows_of_heads(PartLoader& in, const std::string& name,
                                   const std::vector<plan::Range>& heads) {
  const plan::ModelSpec& spec = in.spec();
  const int64_t n = int64_t{spec.n_heads + 2 * spec.n_kv_heads} * spec.head_dim;
  std::vector<WeightPart> weights;
  std::vector<WeightPart> biases;
  for (const plan::Range range : heads) {
    const plan::Range rows = channels_of(range, spec.head_dim);
    weights.push_back(in.rows(name + ".weight", n, spec.hidden, rows));
    if (spec.qkv_bias) biases.push_back(in.vector(name + ".bias", n, rows));
  }
  return ColumnParallelLinear(in, weights, biases);
}

}  // namespace

Attention::Attention(PartLoader& in, ColumnParallelLinear qkv, RowParallelLinear o,
                     std::unique_ptr<QkNorm> qk_norm, const std::string& sinks)
    : n_heads_(in.rank().heads.size()),
      n_kv_heads_(in.rank().kv_heads.size()),
      head_dim_(in.spec().head_dim),
      scale_(in.spec().attention_scale),
      softcap_(in.spec().attention_softcap),
      window_(span_of(in.layer_spec(), plan::AttentionKind::kSliding)),
      chunk_(span_of(in.layer_spec(), plan::AttentionKind::kChunked)),
      causal_(!in.spec().encoder),
      rope_(in.layer_spec().rope),
      slot_(in.slot()),
      qkv_(std::move(qkv)),
      o_(std::move(o)),
      qk_norm_(std::move(qk_norm)) {
  if (!in.spec().sinks) return;
  sinks_ = in.weights().vector_f32({in.vector(sinks, in.spec().n_heads, in.rank().heads)});
}

Status Attention::forward(const TensorView& h, const TensorView& out, Pass& pass) const {
  TRY(forward_partial(h, out, pass));
  return sum().reduce(out, pass.context);
}

Status Attention::forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const {
  const int64_t n = pass.n_tokens();
  const int64_t q_width = n_heads_ * head_dim_;
  const int64_t kv_width = n_kv_heads_ * head_dim_;
  const TensorView qkv = pass.buffers.qkv.view.rows(0, n);
  qkv_.forward(h, qkv, pass.context);
  const TensorView q = qkv.columns(0, q_width).split_columns(n_heads_, head_dim_);
  const TensorView k =
      qkv.columns(q_width, q_width + kv_width).split_columns(n_kv_heads_, head_dim_);
  const TensorView v =
      qkv.columns(q_width + kv_width, q_width + 2 * kv_width).split_columns(n_kv_heads_, head_dim_);

  HeadNormWeights norm;
  if (qk_norm_ != nullptr) norm = qk_norm_->head_weights();
  if (qk_norm_ != nullptr && !norm.q.defined()) TRY(qk_norm_->forward(q, k, pass));
  const LayerKv kv = pass.kv.layer(slot_);
  const RopeTable none;
  const RopeTable& rope = rope_ < 0 ? none : pass.buffers.ropes.at(static_cast<size_t>(rope_));
  pass.ops().norm_rope_append({.q = q,
                               .k = k,
                               .v = v,
                               .q_norm = norm.q,
                               .k_norm = norm.k,
                               .norm_eps = norm.eps,
                               .positions = pass.batch.positions,
                               .inv_freq = rope.inv_freq.view,
                               .rope_scale = rope.scale,
                               .layout = rope.layout,
                               .set_of_token = pass.batch.rope_sets,
                               .slots = pass.batch.kv_table(kv.group).slots,
                               .k_cache = kv.k,
                               .v_cache = kv.v,
                               .k_scale = kv.k_scale,
                               .v_scale = kv.v_scale},
                              pass.stream());
  const TensorView attended = pass.buffers.attended.view.rows(0, n);
  attend(q, kv, attended.split_columns(n_heads_, head_dim_), pass);
  o_.forward_partial(attended, out, pass.context);
  return {};
}

void Attention::attend(const TensorView& q, const LayerKv& kv, const TensorView& out,
                       Pass& pass) const {
  pass.ops().paged_attention({.q = q,
                              .k_cache = kv.k,
                              .v_cache = kv.v,
                              .block_table = pass.batch.kv_table(kv.group).block_table,
                              .query_start = pass.batch.query_start,
                              .context_len = pass.batch.context_len,
                              .scale = scale_,
                              .out = out,
                              .window = window_,
                              .chunk = chunk_,
                              .softcap = softcap_,
                              .sinks = sinks_.view,
                              .causal = causal_,
                              .k_scale = kv.k_scale,
                              .v_scale = kv.v_scale},
                             pass.stream());
}

ColumnParallelLinear separate_qkv(PartLoader& in, const std::string& q, const std::string& k,
                                  const std::string& v) {
  const plan::ModelSpec& spec = in.spec();
  const plan::Range q_rows = channels_of(in.rank().heads, spec.head_dim);
  const plan::Range kv_rows = channels_of(in.rank().kv_heads, spec.head_dim);
  const int64_t n_q = int64_t{spec.n_heads} * spec.head_dim;
  const int64_t n_kv = int64_t{spec.n_kv_heads} * spec.head_dim;
  std::vector<WeightPart> biases;
  if (spec.qkv_bias) {
    biases = {in.vector(q + ".bias", n_q, q_rows), in.vector(k + ".bias", n_kv, kv_rows),
              in.vector(v + ".bias", n_kv, kv_rows)};
  }
  return ColumnParallelLinear(in,
                              {in.rows(q + ".weight", n_q, spec.hidden, q_rows),
                               in.rows(k + ".weight", n_kv, spec.hidden, kv_rows),
                               in.rows(v + ".weight", n_kv, spec.hidden, kv_rows)},
                              biases);
}

ColumnParallelLinear fused_qkv(PartLoader& in, const std::string& name) {
  const int64_t n_heads = in.spec().n_heads;
  const plan::Range kv = in.rank().kv_heads;
  return rows_of_heads(
      in, name,
      {in.rank().heads, shifted(kv, n_heads), shifted(kv, n_heads + in.spec().n_kv_heads)});
}

ColumnParallelLinear grouped_qkv(PartLoader& in, const std::string& name) {
  const int64_t n_shared = in.spec().n_heads / in.spec().n_kv_heads;  // q heads of a group
  const int64_t n_stored = n_shared + 2;
  std::vector<plan::Range> heads;
  for (int64_t q = in.rank().heads.begin; q < in.rank().heads.end; ++q) {
    const int64_t at = q / n_shared * n_stored + q % n_shared;
    heads.push_back({at, at + 1});
  }
  for (const int64_t offset : {n_shared, n_shared + 1}) {
    for (int64_t kv = in.rank().kv_heads.begin; kv < in.rank().kv_heads.end; ++kv) {
      heads.push_back({kv * n_stored + offset, kv * n_stored + offset + 1});
    }
  }
  return rows_of_heads(in, name, heads);
}

RowParallelLinear attention_output(PartLoader& in, const std::string& name) {
  const plan::ModelSpec& spec = in.spec();
  std::vector<WeightPart> bias;
  if (spec.o_bias) bias = {in.vector(name + ".bias", spec.hidden)};
  return RowParallelLinear(
      in,
      in.columns(name + ".weight", spec.hidden, int64_t{spec.n_heads} * spec.head_dim,
                 channels_of(in.rank().heads, spec.head_dim)),
      bias, "attention");
}

}  // namespace trireme::worker
