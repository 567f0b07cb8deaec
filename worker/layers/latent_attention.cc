#include "worker/layers/latent_attention.h"

namespace trireme::worker {
namespace {

// Of the norms of the compressed rows: a constant of the family, not config.json's.
constexpr float kLatentNormEps = 1e-6f;

void norm(const TensorView& x, const DeviceTensor& weight, const TensorView& out, Pass& pass) {
  pass.ops().rms_norm({.x = x, .weight = weight.view, .eps = kLatentNormEps, .out = out},
                      pass.stream());
}

void project(const TensorView& x, const kernels::PackedWeight& weight, const TensorView& out,
             Pass& pass) {
  pass.ops().linear({.x = x, .weight = &weight, .out = out}, pass.stream());
}

RowParallelLinear output(PartLoader& in, const std::string& name) {
  const int64_t width = in.spec().mla->value_dim;
  return RowParallelLinear(in,
                           in.columns(name + ".weight", in.spec().hidden, in.spec().n_heads * width,
                                      channels_of(in.rank().heads, width)),
                           {}, "attention");
}

}  // namespace

LatentAttention::LatentAttention(PartLoader& in, const std::string& prefix)
    : n_heads_(in.rank().heads.size()),
      mla_(*in.spec().mla),
      scale_(in.spec().attention_scale),
      rope_(in.layer_spec().rope),
      slot_(in.slot()) {
  load_queries(in, prefix);
  load_latent(in, prefix);
  o_ = output(in, prefix + "o_proj");
}

// A head's rows are stored [nope | rope]; the two go different ways.
void LatentAttention::load_queries(PartLoader& in, const std::string& prefix) {
  const int64_t hidden = in.spec().hidden;
  const int64_t q_rank = mla_.q_rank;
  std::string name = prefix + "q_proj.weight";
  int64_t n_in = hidden;
  if (q_rank > 0) {
    q_a_ = in.weights().packed({in.rows(prefix + "q_a_proj.weight", q_rank, hidden, {0, q_rank})});
    q_norm_ = in.weights().vector_f32({in.vector(prefix + "q_a_layernorm.weight", q_rank)});
    name = prefix + "q_b_proj.weight";
    n_in = q_rank;
  }
  const int64_t head_dim = mla_.nope_dim + mla_.rope_dim;
  const auto rows = [&](plan::Range part) {
    return in.rows(name, in.spec().n_heads * head_dim, n_in, part);
  };
  std::vector<WeightPart> nope;
  for (int64_t head = in.rank().heads.begin; head < in.rank().heads.end; ++head) {
    const int64_t border = head * head_dim + mla_.nope_dim;
    nope.push_back(rows({head * head_dim, border}));
    q_rope_.add(in.weights().packed({rows({border, (head + 1) * head_dim})}));
  }
  q_nope_ = in.weights().packed(nope);
}

void LatentAttention::load_latent(PartLoader& in, const std::string& prefix) {
  const int64_t rank = mla_.kv_rank;
  kv_a_ = in.weights().packed({in.rows(prefix + "kv_a_proj_with_mqa.weight", mla_.latent_width(),
                                       in.spec().hidden, {0, mla_.latent_width()})});
  kv_norm_ = in.weights().vector_f32({in.vector(prefix + "kv_a_layernorm.weight", rank)});
  // A head's rows are those of its key, then those of its value.
  const int64_t head_dim = mla_.nope_dim + mla_.value_dim;
  const auto rows = [&](plan::Range part) {
    return in.rows(prefix + "kv_b_proj.weight", in.spec().n_heads * head_dim, rank, part);
  };
  for (int64_t head = in.rank().heads.begin; head < in.rank().heads.end; ++head) {
    const int64_t border = head * head_dim + mla_.nope_dim;
    WeightPart key = rows({head * head_dim, border});
    key.transposed = true;
    key_up_.add(in.weights().packed({key}));
    value_up_.add(in.weights().packed({rows({border, (head + 1) * head_dim})}));
  }
}

void LatentAttention::rotate(const TensorView& heads, Pass& pass) const {
  const RopeTable& rope = pass.buffers.ropes.at(static_cast<size_t>(rope_));
  pass.ops().rope({.q = heads,
                   .positions = pass.batch.positions,
                   .inv_freq = rope.inv_freq.view,
                   .scale = rope.scale,
                   .layout = rope.layout,
                   .set_of_token = pass.batch.rope_sets},
                  pass.stream());
}

TensorView LatentAttention::queries(const TensorView& h, Pass& pass) const {
  const int64_t n = h.dim(0);
  const LatentBuffers& buffers = pass.buffers.latent;
  TensorView from = h;
  if (q_a_ != nullptr) {
    const TensorView compressed = buffers.q_a.view.rows(0, n);
    project(h, *q_a_, compressed, pass);
    from = buffers.q_normed.view.rows(0, n);
    norm(compressed, q_norm_, from, pass);
  }
  const TensorView nope = buffers.q_nope.view.rows(0, n);
  project(from, *q_nope_, nope, pass);

  // A row holds the heads' [latent | rope] and, behind them, room that `shifted` needs.
  const int64_t width = mla_.latent_width();
  const TensorView row = buffers.q.view.rows(0, n);
  key_up_.forward(nope, mla_.nope_dim, row, width, pass);
  q_rope_.forward(from, 0, row.columns(mla_.kv_rank, row.dim(1)), width, pass);
  // The first channels of a head rotate: these are the heads as seen from their rope channels on.
  const TensorView shifted = row.columns(mla_.kv_rank, mla_.kv_rank + n_heads_ * width);
  rotate(shifted.split_columns(n_heads_, width), pass);
  return row.columns(0, n_heads_ * width).split_columns(n_heads_, width);
}

void LatentAttention::append(const TensorView& h, Pass& pass) const {
  const int64_t n = h.dim(0);
  const TensorView kv = pass.buffers.latent.kv_a.view.rows(0, n);
  project(h, *kv_a_, kv, pass);
  const TensorView latent = pass.buffers.latent.kv_normed.view.rows(0, n);
  norm(kv.columns(0, mla_.kv_rank), kv_norm_, latent, pass);
  const TensorView rope_key = kv.columns(mla_.kv_rank, mla_.latent_width());
  rotate(rope_key.split_columns(1, mla_.rope_dim), pass);
  const LayerKv cache = pass.kv.layer(slot_);
  pass.ops().latent_append({.latent = latent,
                            .rope_key = rope_key,
                            .slots = pass.batch.kv_table(cache.group).slots,
                            .cache = cache.latent,
                            .cache_scale = cache.k_scale},
                           pass.stream());
}

Status LatentAttention::forward(const TensorView& h, const TensorView& out, Pass& pass) const {
  TRY(forward_partial(h, out, pass));
  return sum().reduce(out, pass.context);
}

Status LatentAttention::forward_partial(const TensorView& h, const TensorView& out,
                                        Pass& pass) const {
  const int64_t n = pass.n_tokens();
  append(h, pass);
  const LayerKv cache = pass.kv.layer(slot_);
  const TensorView mixed = pass.buffers.latent.mixed.view.rows(0, n);
  pass.ops().latent_attention({.q = queries(h, pass),
                               .cache = cache.latent,
                               .block_table = pass.batch.kv_table(cache.group).block_table,
                               .query_start = pass.batch.query_start,
                               .context_len = pass.batch.context_len,
                               .rank = mla_.kv_rank,
                               .scale = scale_,
                               .out = mixed.split_columns(n_heads_, mla_.kv_rank),
                               .cache_scale = cache.k_scale},
                              pass.stream());
  const TensorView values = pass.buffers.attended.view.rows(0, n);
  value_up_.forward(mixed, mla_.kv_rank, values, mla_.value_dim, pass);
  o_.forward_partial(values, out, pass.context);
  return {};
}

}  // namespace trireme::worker
