#include "kernels/shape_match.h"

#include "kernels/backend.h"
#include "kernels/shape_checks.h"

namespace trireme::kernels {
namespace {

void check_head_norm(const TensorView& x, const TensorView& weight) {
  check_f32_heads(x, "x");
  if (!weight.defined()) return;
  CHECK(weight.rank == 1 || weight.rank == 2) << "weight has rank " << weight.rank;
  CHECK_EQ(weight.dtype, DType::kF32) << "weight";
  CHECK(weight.contiguous()) << "weight must be contiguous";
  CHECK_EQ(weight.dim(weight.rank - 1), x.dim(2)) << "head_dim";
  if (weight.rank == 2) CHECK_EQ(weight.dim(0), x.dim(1)) << "heads";
}

void check_gate_up(const TensorView& gate_up, const TensorView& out) {
  check_f32_matrix(gate_up, "gate_up");
  check_activation_matrix(out, "out");
  CHECK_EQ(gate_up.dim(0), out.dim(0));
  CHECK_EQ(gate_up.dim(1), 2 * out.dim(1));
}

}  // namespace

void check_shapes(const EmbeddingArgs& args) {
  check_vector(args.ids, DType::kI32, "ids");
  check_matrix(args.table, "table");
  CHECK(is_float(args.table.dtype)) << "table is " << args.table.dtype;
  check_f32_matrix(args.out, "out");
  CHECK_EQ(args.ids.dim(0), args.out.dim(0));
  CHECK_EQ(args.table.dim(1), args.out.dim(1));
}

void check_shapes(const RmsNormArgs& args) {
  check_f32_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  check_vector(args.weight, DType::kF32, "weight");
  check_same_matrix(args.x, args.out, "x, out");
  CHECK_EQ(args.weight.dim(0), args.x.dim(1));
}

void check_shapes(const AddRmsNormArgs& args) {
  check_f32_matrix(args.residual, "residual");
  check_f32_matrix(args.delta, "delta");
  check_activation_matrix(args.out, "out");
  check_vector(args.weight, DType::kF32, "weight");
  check_same_matrix(args.residual, args.delta, "residual, delta");
  check_same_matrix(args.residual, args.out, "residual, out");
  CHECK_EQ(args.weight.dim(0), args.residual.dim(1));
}

void check_shapes(const AddArgs& args) {
  check_f32_matrix(args.x, "x");
  check_f32_matrix(args.y, "y");
  check_same_matrix(args.x, args.y, "x, y");
}

void check_shapes(const LinearArgs& args) {
  CHECK(args.weight != nullptr);
  check_activation_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  CHECK_EQ(args.x.dim(0), args.out.dim(0));
  CHECK_EQ(args.x.dim(1), args.weight->in_features());
  CHECK_EQ(args.out.dim(1), args.weight->out_features());
  if (args.bias.defined()) {
    check_vector(args.bias, DType::kF32, "bias");
    CHECK_EQ(args.bias.dim(0), args.out.dim(1));
  }
}

void check_shapes(const HeadLinearArgs& args) {
  check_activation_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  CHECK_EQ(args.x.dim(0), args.out.dim(0));
  CHECK(!args.weights.empty()) << "no heads";
  const PackedWeight* first = args.weights.front();
  CHECK(first != nullptr);
  for (const PackedWeight* weight : args.weights) {
    CHECK(weight != nullptr);
    CHECK_EQ(weight->in_features(), first->in_features());
    CHECK_EQ(weight->out_features(), first->out_features());
  }
  const auto last = static_cast<int64_t>(args.weights.size()) - 1;
  CHECK_GE(args.x_head_stride, 0);
  CHECK_LE(last * args.x_head_stride + first->in_features(), args.x.dim(1));
  if (last > 0) CHECK_GE(args.out_head_stride, first->out_features()) << "heads overlap";
  CHECK_LE(last * args.out_head_stride + first->out_features(), args.out.dim(1));
}

void check_shapes(const LayerNormArgs& args) {
  check_f32_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  check_vector(args.weight, DType::kF32, "weight");
  check_same_matrix(args.x, args.out, "x, out");
  CHECK_EQ(args.weight.dim(0), args.x.dim(1));
  if (!args.bias.defined()) return;
  check_vector(args.bias, DType::kF32, "bias");
  CHECK_EQ(args.bias.dim(0), args.x.dim(1));
}

void check_shapes(const HeadRmsNormArgs& args) { check_head_norm(args.x, args.weight); }

void check_shapes(const HeadLayerNormArgs& args) { check_head_norm(args.x, args.weight); }

void check_shapes(const RowSumSquaresArgs& args) {
  check_f32_matrix(args.x, "x");
  check_f32_column(args.out, args.x, "out");
}

void check_shapes(const RmsNormRowsArgs& args) {
  check_f32_matrix(args.x, "x");
  check_f32_column(args.sum_squares, args.x, "sum_squares");
  check_vector(args.weight, DType::kF32, "weight");
  CHECK_EQ(args.weight.dim(0), args.x.dim(1));
  CHECK_GE(args.total_width, args.x.dim(1)) << "total_width";
}

void check_shapes(const ScaleArgs& args) { check_f32_matrix(args.x, "x"); }

void check_shapes(const SoftcapArgs& args) {
  check_f32_matrix(args.x, "x");
  CHECK_GT(args.cap, 0.0f) << "cap";
}

void check_shapes(const SigmoidScaleRowsArgs& args) {
  check_f32_matrix(args.x, "x");
  check_f32_column(args.gate, args.x, "gate");
}

void check_shapes(const PositionScaleArgs& args) {
  check_f32_heads(args.x, "x");
  check_vector(args.positions, DType::kI32, "positions");
  CHECK_EQ(args.positions.dim(0), args.x.dim(0));
  CHECK_GT(args.floor_scale, 0.0f) << "floor_scale";
}

void check_shapes(const ActivationArgs& args) {
  check_f32_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  check_same_matrix(args.x, args.out, "x, out");
}

void check_shapes(const GatedActivationArgs& args) { check_gate_up(args.gate_up, args.out); }

void check_shapes(const ClampedSwigluArgs& args) {
  check_gate_up(args.gate_up, args.out);
  CHECK_GT(args.limit, 0.0f) << "limit";
}

void check_shapes(const RopeArgs& args) {
  check_vector(args.positions, DType::kI32, "positions");
  const int64_t rank = args.inv_freq.rank;
  CHECK(rank == 1 || rank == 2) << "inv_freq has rank " << rank;
  CHECK_EQ(args.inv_freq.dtype, DType::kF32) << "inv_freq";
  CHECK(args.inv_freq.contiguous()) << "inv_freq must be contiguous";
  CHECK(args.q.defined() || args.k.defined()) << "nothing to rotate";
  for (const TensorView& heads : {args.q, args.k}) {
    if (!heads.defined()) continue;
    check_f32_heads(heads, "q or k");
    CHECK_EQ(heads.dim(0), args.positions.dim(0));
    CHECK_LE(2 * args.inv_freq.dim(args.inv_freq.rank - 1), heads.dim(2)) << "rotary_dim";
  }
  if (!args.set_of_token.defined()) return;
  check_vector(args.set_of_token, DType::kI32, "set_of_token");
  CHECK_EQ(args.set_of_token.dim(0), args.positions.dim(0));
}

void check_contents(const RopeArgs& args) {
  if (!args.set_of_token.defined()) return;
  const int64_t n_sets = args.inv_freq.rank == 1 ? 1 : args.inv_freq.dim(0);
  for (int64_t i = 0; i < args.set_of_token.dim(0); ++i) {
    CHECK_LE(0, args.set_of_token.as<int32_t>()[i]) << "token " << i;
    CHECK_LT(args.set_of_token.as<int32_t>()[i], n_sets) << "token " << i;
  }
}

}  // namespace trireme::kernels
