#include "worker/layers/mlp.h"

namespace trireme::worker {
namespace {

// A width of the whole model, and this rank's columns of it.
struct Cut {
  int64_t width;
  plan::Range mine;
};
Cut cut_of(const PartLoader& in, MlpWidth width) {
  if (width == MlpWidth::kDense) return {in.spec().intermediate, in.rank().intermediate};
  return {in.spec().moe->shared_width, in.rank().shared_columns};
}

}  // namespace

GatedMlp::GatedMlp(PartLoader& in, ColumnParallelLinear gate_up, RowParallelLinear down,
                   MlpWidth width)
    : width_(cut_of(in, width).mine.size()),
      activation_(in.spec().activation),
      gate_up_(std::move(gate_up)),
      down_(std::move(down)) {}

void GatedMlp::forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const {
  const int64_t n = h.dim(0);
  const TensorView gate_up = pass.buffers.gate_up.view.rows(0, n).columns(0, 2 * width_);
  const TensorView activated = pass.buffers.activated.view.rows(0, n).columns(0, width_);
  gate_up_.forward(h, gate_up, pass.context);
  pass.ops().gated_activation({.gate_up = gate_up, .activation = activation_, .out = activated},
                              pass.stream());
  down_.forward_partial(activated, out, pass.context);
}

PlainMlp::PlainMlp(PartLoader& in, ColumnParallelLinear up, RowParallelLinear down)
    : width_(in.rank().intermediate.size()),
      activation_(in.spec().activation),
      up_(std::move(up)),
      down_(std::move(down)) {}

void PlainMlp::forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const {
  const int64_t n = h.dim(0);
  const TensorView up = pass.buffers.gate_up.view.rows(0, n).columns(0, width_);
  const TensorView activated = pass.buffers.activated.view.rows(0, n).columns(0, width_);
  up_.forward(h, up, pass.context);
  pass.ops().activation({.x = up, .activation = activation_, .out = activated}, pass.stream());
  down_.forward_partial(activated, out, pass.context);
}

ColumnParallelLinear gate_and_up(PartLoader& in, const std::string& gate, const std::string& up,
                                 MlpWidth width) {
  const Cut cut = cut_of(in, width);
  const int64_t hidden = in.spec().hidden;
  std::vector<WeightPart> biases;
  if (in.spec().mlp_bias) {
    biases = {in.vector(gate + ".bias", cut.width, cut.mine),
              in.vector(up + ".bias", cut.width, cut.mine)};
  }
  return ColumnParallelLinear(in,
                              {in.rows(gate + ".weight", cut.width, hidden, cut.mine),
                               in.rows(up + ".weight", cut.width, hidden, cut.mine)},
                              biases);
}

ColumnParallelLinear fused_gate_up(PartLoader& in, const std::string& name) {
  const int64_t width = in.spec().intermediate;
  const plan::Range gate = in.rank().intermediate;
  const plan::Range up = shifted(gate, width);
  const auto rows = [&](plan::Range part) {
    return in.rows(name + ".weight", 2 * width, in.spec().hidden, part);
  };
  std::vector<WeightPart> biases;
  if (in.spec().mlp_bias) {
    biases = {in.vector(name + ".bias", 2 * width, gate), in.vector(name + ".bias", 2 * width, up)};
  }
  return ColumnParallelLinear(in, {rows(gate), rows(up)}, biases);
}

ColumnParallelLinear mlp_input(PartLoader& in, const std::string& name) {
  const int64_t width = in.spec().intermediate;
  const plan::Range mine = in.rank().intermediate;
  std::vector<WeightPart> bias;
  if (in.spec().mlp_bias) bias = {in.vector(name + ".bias", width, mine)};
  return ColumnParallelLinear(in, {in.rows(name + ".weight", width, in.spec().hidden, mine)}, bias);
}

RowParallelLinear mlp_output(PartLoader& in, const std::string& name, MlpWidth width) {
  const Cut cut = cut_of(in, width);
  const int64_t hidden = in.spec().hidden;
  std::vector<WeightPart> bias;
  if (in.spec().mlp_bias) bias = {in.vector(name + ".bias", hidden)};
  return RowParallelLinear(in, in.columns(name + ".weight", hidden, cut.width, cut.mine), bias,
                           "mlp");
}

}  // namespace trireme::worker
