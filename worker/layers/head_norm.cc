#include "worker/layers/head_norm.h"

#include <fmt/format.h>

#include <algorithm>

namespace trireme::worker {
namespace {

// A stored [n_heads, head_dim] or [n_heads * head_dim]: this rank's heads.
WeightPart heads_of(PartLoader& in, const std::string& name, int64_t n_heads, plan::Range mine) {
  return in.rows(name + ".weight", n_heads, in.spec().head_dim, mine);
}
WeightPart channels_of_heads(PartLoader& in, const std::string& name, int64_t n_heads,
                             plan::Range mine) {
  const int64_t d = in.spec().head_dim;
  return in.vector(name + ".weight", n_heads * d, channels_of(mine, d));
}

// [n_tokens, heads, head_dim] as [n_tokens, heads * head_dim].
TensorView flat(const TensorView& x) {
  TensorView view = x;
  view.rank = 2;
  view.shape[1] = x.dim(1) * x.dim(2);
  return view;
}

}  // namespace

HeadRmsNorm::HeadRmsNorm(PartLoader& in, const std::string& q, const std::string& k, float plus)
    : q_weight_(in.weights().vector_f32({in.vector(q + ".weight", in.spec().head_dim)}, plus)),
      k_weight_(in.weights().vector_f32({in.vector(k + ".weight", in.spec().head_dim)}, plus)),
      eps_(in.spec().norm_eps) {}

Status HeadRmsNorm::forward(const TensorView& q, const TensorView& k, Pass& pass) const {
  pass.ops().head_rms_norm({.x = q, .weight = q_weight_.view, .eps = eps_}, pass.stream());
  pass.ops().head_rms_norm({.x = k, .weight = k_weight_.view, .eps = eps_}, pass.stream());
  return {};
}

Status UnweightedHeadNorm::forward(const TensorView& q, const TensorView& k, Pass& pass) const {
  pass.ops().head_rms_norm({.x = q, .weight = {}, .eps = eps_}, pass.stream());
  pass.ops().head_rms_norm({.x = k, .weight = {}, .eps = eps_}, pass.stream());
  return {};
}

Status QueryTemperature::forward(const TensorView& q, const TensorView& /*k*/, Pass& pass) const {
  if (floor_scale_ == 0) return {};
  pass.ops().position_scale({.x = q,
                             .positions = pass.batch.positions,
                             .floor_scale = floor_scale_,
                             .attn_scale = scale_},
                            pass.stream());
  return {};
}

EveryHeadLayerNorm::EveryHeadLayerNorm(PartLoader& in, const std::string& q, const std::string& k)
    : q_weight_(in.weights().vector_f32({heads_of(in, q, in.spec().n_heads, in.rank().heads)})),
      k_weight_(
          in.weights().vector_f32({heads_of(in, k, in.spec().n_kv_heads, in.rank().kv_heads)})),
      eps_(in.spec().norm_eps) {}

Status EveryHeadLayerNorm::forward(const TensorView& q, const TensorView& k, Pass& pass) const {
  pass.ops().head_layer_norm({.x = q, .weight = q_weight_.view, .eps = eps_}, pass.stream());
  pass.ops().head_layer_norm({.x = k, .weight = k_weight_.view, .eps = eps_}, pass.stream());
  return {};
}

ProjectionRmsNorm::ProjectionRmsNorm(PartLoader& in, const std::string& q, const std::string& k)
    : q_weight_(
          in.weights().vector_f32({channels_of_heads(in, q, in.spec().n_heads, in.rank().heads)})),
      k_weight_(in.weights().vector_f32(
          {channels_of_heads(in, k, in.spec().n_kv_heads, in.rank().kv_heads)})),
      q_width_(in.tp().size() * in.rank().heads.size() * in.spec().head_dim),
      k_width_(in.tp().size() * in.rank().kv_heads.size() * in.spec().head_dim),
      eps_(in.spec().norm_eps),
      tp_(&in.tp()),
      op_name_(fmt::format("layer {} q and k norm all_reduce", in.index())) {}

Status ProjectionRmsNorm::forward(const TensorView& q, const TensorView& k, Pass& pass) const {
  const int64_t n = pass.n_tokens();
  const TensorView sums = pass.buffers.row_sums.view.rows(0, 2 * n);
  pass.ops().row_sum_squares({.x = flat(q), .out = sums.rows(0, n)}, pass.stream());
  pass.ops().row_sum_squares({.x = flat(k), .out = sums.rows(n, 2 * n)}, pass.stream());
  if (tp_->size() > 1) {
    const ScopedTime time(*pass.context.clock, pass.context.collective_ns);
    TRY(tp_->all_reduce_sum(sums, pass.context.begin(op_name_)));
  }
  pass.ops().rms_norm_rows({.x = flat(q),
                            .sum_squares = sums.rows(0, n),
                            .weight = q_weight_.view,
                            .total_width = q_width_,
                            .eps = eps_},
                           pass.stream());
  pass.ops().rms_norm_rows({.x = flat(k),
                            .sum_squares = sums.rows(n, 2 * n),
                            .weight = k_weight_.view,
                            .total_width = k_width_,
                            .eps = eps_},
                           pass.stream());
  return {};
}

}  // namespace trireme::worker
