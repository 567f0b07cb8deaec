#include "worker/layers/moe.h"

#include <fmt/format.h>

#include <algorithm>

namespace trireme::worker {
namespace {

// Rows and columns of a stored tensor that belong to one expert.
WeightPart part_of(const PartLoader& in, const std::string& name, std::vector<int64_t> shape,
                   plan::Range rows, plan::Range columns) {
  return {.slice = {in.name(name), std::move(shape), rows, columns}, .routed = true};
}

// Block `i` of a matrix of equal blocks of `n` rows.
plan::Range block(int64_t i, int64_t n) { return {i * n, (i + 1) * n}; }

// The part of all experts of the rank, one under the other: [n_experts, n].
DeviceTensor expert_vectors(PartLoader& in, const ExpertParts::OfExpert& parts) {
  std::vector<WeightPart> all;
  const plan::Range experts = in.rank().experts;
  for (int64_t e = experts.begin; e < experts.end; ++e) {
    for (WeightPart& part : parts(e)) all.push_back(std::move(part));
  }
  DeviceTensor stacked = in.weights().vector_f32(all);
  if (stacked.defined()) {
    const int64_t n = experts.size();
    stacked.view = TensorView(stacked.view.data, DType::kF32, {n, stacked.view.numel() / n});
  }
  return stacked;
}

int64_t n_moe_layers_before(const PartLoader& in) {
  const auto begin = in.spec().layers.begin() + in.rank().layers.begin;
  return std::count_if(begin, in.spec().layers.begin() + in.index(),
                       [](const plan::LayerSpec& layer) { return layer.moe; });
}

}  // namespace

Router::Router(PartLoader& in, const std::string& name, const std::string& choice_bias)
    : moe_(*in.spec().moe),
      weight_(in.weights().packed(
          {in.rows(name + ".weight", moe_.n_experts, in.spec().hidden, {0, moe_.n_experts})})) {
  if (moe_.router_bias) {
    bias_ = in.weights().vector_f32({in.vector(name + ".bias", moe_.n_experts)});
  }
  if (moe_.choice_bias) {
    choice_bias_ = in.weights().vector_f32({in.vector(choice_bias, moe_.n_experts)});
  }
}

void Router::forward(const TensorView& h, Pass& pass) const {
  const MoeBuffers& buffers = pass.buffers.moe;
  const int64_t n = h.dim(0);
  const TensorView logits = buffers.router_logits.view.rows(0, n);
  pass.ops().linear({.x = h, .weight = weight_.get(), .bias = bias_.view, .out = logits},
                    pass.stream());
  pass.ops().moe_route({.logits = logits,
                        .choice_bias = choice_bias_.view,
                        .scoring = moe_.scoring,
                        .group_score = moe_.group_score,
                        .n_groups = moe_.n_groups,
                        .n_chosen_groups = moe_.n_chosen_groups,
                        .renormalize = moe_.renormalize,
                        .weight_scale = moe_.weight_scale,
                        .expert_ids = buffers.expert_ids.view.rows(0, n),
                        .weights = buffers.expert_weights.view.rows(0, n)},
                       pass.stream());
}

ExpertParts separate_experts(PartLoader& in, const std::string& prefix, const std::string& gate,
                             const std::string& up, const std::string& down) {
  const int64_t width = in.spec().moe->width;
  const int64_t hidden = in.spec().hidden;
  const plan::Range mine = in.rank().expert_columns;
  const auto name = [prefix](int64_t expert, const std::string& matrix) {
    return fmt::format("{}{}.{}.weight", prefix, expert, matrix);
  };
  const auto gate_up_parts = [=, &in](int64_t e) -> std::vector<WeightPart> {
    return {part_of(in, name(e, gate), {width, hidden}, mine, {0, hidden}),
            part_of(in, name(e, up), {width, hidden}, mine, {0, hidden})};
  };
  const auto down_parts = [=, &in](int64_t e) -> std::vector<WeightPart> {
    return {part_of(in, name(e, down), {hidden, width}, {0, hidden}, mine)};
  };
  return {.gate_up = gate_up_parts, .down = down_parts};
}

ExpertParts stacked_experts(PartLoader& in, const std::string& gate_up, const std::string& down) {
  const int64_t n_experts = in.spec().moe->n_experts;
  const int64_t width = in.spec().moe->width;
  const int64_t hidden = in.spec().hidden;
  const plan::Range mine = in.rank().expert_columns;
  const auto gate_up_parts = [=, &in](int64_t e) -> std::vector<WeightPart> {
    const auto rows_from = [&](int64_t first) {
      return part_of(in, gate_up, {n_experts, 2 * width, hidden}, shifted(mine, first),
                     {0, hidden});
    };
    return {rows_from(e * 2 * width), rows_from(e * 2 * width + width)};
  };
  const auto down_parts = [=, &in](int64_t e) -> std::vector<WeightPart> {
    return {part_of(in, down, {n_experts, hidden, width}, block(e, hidden), mine)};
  };
  return {.gate_up = gate_up_parts, .down = down_parts};
}

ExpertParts transposed_experts(PartLoader& in, const std::string& gate_up, const std::string& down,
                               GateUpColumns columns) {
  const int64_t n_experts = in.spec().moe->n_experts;
  const int64_t width = in.spec().moe->width;
  const int64_t hidden = in.spec().hidden;
  const plan::Range mine = in.rank().expert_columns;
  // What `rows` hold of this rank's gate and up columns, turned into rows.
  const auto turned = [=, &in](const std::string& name, const std::vector<int64_t>& shape,
                               plan::Range rows) -> std::vector<WeightPart> {
    if (columns == GateUpColumns::kAlternating) {
      WeightPart both = part_of(in, name, shape, rows, {2 * mine.begin, 2 * mine.end});
      both.transposed = both.interleaved = true;
      return {both};
    }
    WeightPart gate = part_of(in, name, shape, rows, mine);
    WeightPart up = part_of(in, name, shape, rows, shifted(mine, width));
    gate.transposed = up.transposed = true;
    return {gate, up};
  };
  ExpertParts parts;
  parts.gate_up = [=](int64_t e) {
    return turned(gate_up, {n_experts, hidden, 2 * width}, block(e, hidden));
  };
  parts.down = [=, &in](int64_t e) -> std::vector<WeightPart> {
    WeightPart part =
        part_of(in, down, {n_experts, width, hidden}, shifted(mine, e * width), {0, hidden});
    part.transposed = true;
    return {part};
  };
  if (!in.spec().moe->expert_bias) return parts;
  parts.gate_up_bias = [=](int64_t e) {
    return turned(gate_up + "_bias", {n_experts, 2 * width}, block(e, 1));
  };
  parts.down_bias = [=, &in](int64_t e) -> std::vector<WeightPart> {
    WeightPart part = part_of(in, down + "_bias", {n_experts, hidden}, block(e, 1), {0, hidden});
    part.transposed = true;
    return {part};
  };
  return parts;
}

SharedExpert shared_expert(PartLoader& in, ColumnParallelLinear gate_up, RowParallelLinear down,
                           const std::string& gate) {
  SharedExpert shared;
  shared.mlp =
      std::make_unique<GatedMlp>(in, std::move(gate_up), std::move(down), MlpWidth::kShared);
  if (in.spec().moe->shared_gate) {
    shared.gate = in.weights().packed({in.rows(gate + ".weight", 1, in.spec().hidden, {0, 1})});
  }
  return shared;
}

Moe::Moe(PartLoader& in, Router router, const ExpertParts& experts, SharedExpert shared)
    : moe_(*in.spec().moe),
      activation_(in.spec().activation),
      first_expert_(static_cast<int32_t>(in.rank().experts.begin)),
      n_experts_(in.rank().experts.size()),
      width_(in.rank().expert_columns.size()),
      moe_slot_(n_moe_layers_before(in)),
      router_(std::move(router)),
      shared_(std::move(shared)),
      sum_(in.tp(), fmt::format("layer {} experts all_reduce", in.index())) {
  for (int64_t e = in.rank().experts.begin; e < in.rank().experts.end; ++e) {
    gate_up_.push_back(in.weights().packed(experts.gate_up(e)));
    down_.push_back(in.weights().packed(experts.down(e)));
    gate_up_list_.push_back(gate_up_.back().get());
    down_list_.push_back(down_.back().get());
  }
  if (experts.gate_up_bias) gate_up_bias_ = expert_vectors(in, experts.gate_up_bias);
  if (!experts.down_bias) return;
  down_bias_ = expert_vectors(in, experts.down_bias);
  // The sum over slices of an expert adds its bias once.
  const bool is_cut = width_ < moe_.width;
  if (is_cut && in.tp().rank() != 0) down_bias_ = {};
}

void Moe::forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const {
  router_.forward(h, pass);
  run_experts(h, out, pass);
  if (shared_.mlp != nullptr) add_shared(h, out, pass);
}

void Moe::run_experts(const TensorView& h, const TensorView& out, Pass& pass) const {
  const MoeBuffers& buffers = pass.buffers.moe;
  const int64_t n = h.dim(0);
  const int64_t n_rows = n * moe_.top_k;
  const TensorView weights = buffers.expert_weights.view.rows(0, n);
  const TensorView unweighted;
  const TensorView token_of_row = buffers.token_of_row.view.rows(0, n_rows);
  const TensorView row_of_choice = buffers.row_of_choice.view.rows(0, n);
  const TensorView start = buffers.starts_of_layer(moe_slot_);
  pass.ops().moe_dispatch({.expert_ids = buffers.expert_ids.view.rows(0, n),
                           .first_expert = first_expert_,
                           .n_local_experts = static_cast<int32_t>(n_experts_),
                           .token_of_row = token_of_row,
                           .expert_start = start,
                           .row_of_choice = row_of_choice},
                          pass.stream());
  const TensorView x = buffers.expert_in.view.rows(0, n_rows);
  pass.ops().moe_gather({.x = h,
                         .token_of_row = token_of_row,
                         .expert_start = start,
                         .row_of_choice = row_of_choice,
                         .weights = moe_.scales_input ? weights : unweighted,
                         .out = x},
                        pass.stream());
  const TensorView gate_up = buffers.gate_up.view.rows(0, n_rows);
  pass.ops().grouped_linear({.x = x,
                             .weights = gate_up_list_,
                             .bias = gate_up_bias_.view,
                             .expert_start = start,
                             .out = gate_up},
                            pass.stream());
  const TensorView activated = buffers.activated.view.rows(0, n_rows);
  activate(gate_up, activated, pass);
  const TensorView y = buffers.expert_out.view.rows(0, n_rows);
  pass.ops().grouped_linear({.x = activated,
                             .weights = down_list_,
                             .bias = down_bias_.view,
                             .expert_start = start,
                             .out = y},
                            pass.stream());
  pass.ops().moe_combine({.y = y,
                          .row_of_choice = row_of_choice,
                          .weights = moe_.scales_input ? unweighted : weights,
                          .out = out},
                         pass.stream());
}

void Moe::activate(const TensorView& gate_up, const TensorView& out, Pass& pass) const {
  if (moe_.swiglu_limit > 0) {
    pass.ops().clamped_swiglu({.gate_up = gate_up, .limit = moe_.swiglu_limit, .out = out},
                              pass.stream());
    return;
  }
  pass.ops().gated_activation({.gate_up = gate_up, .activation = activation_, .out = out},
                              pass.stream());
}

// Between the routed experts and the sum over the group, their buffers are free.
void Moe::add_shared(const TensorView& h, const TensorView& out, Pass& pass) const {
  const int64_t n = h.dim(0);
  const TensorView y = pass.buffers.moe.expert_out.view.rows(0, n);
  shared_.mlp->forward_partial(h, y, pass);
  if (shared_.gate != nullptr) {
    const TensorView gate = pass.buffers.moe.router_logits.view.rows(0, n).columns(0, 1);
    pass.ops().linear({.x = h, .weight = shared_.gate.get(), .bias = {}, .out = gate},
                      pass.stream());
    pass.ops().sigmoid_scale_rows({.x = y, .gate = gate}, pass.stream());
  }
  pass.add(y, out);
}

}  // namespace trireme::worker
