#include "kernels/backend.h"
#include "kernels/shape_checks.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {
namespace {

void check_i32_matrix(const TensorView& view, const char* name) {
  check_matrix(view, name);
  CHECK_EQ(view.dtype, DType::kI32) << name;
}

// One weight for each choice, or none.
void check_weights(const TensorView& weights, const TensorView& choices) {
  if (!weights.defined()) return;
  check_f32_matrix(weights, "weights");
  check_same_matrix(weights, choices, "weights, choices");
}

void check_rows_of_choices(const TensorView& row_of_choice, int64_t n_rows) {
  for (int64_t t = 0; t < row_of_choice.dim(0); ++t) {
    for (int64_t c = 0; c < row_of_choice.dim(1); ++c) {
      CHECK_LE(-1, row_of_choice.row<int32_t>(t)[c]) << "token " << t << " choice " << c;
      CHECK_LT(row_of_choice.row<int32_t>(t)[c], n_rows) << "token " << t << " choice " << c;
    }
  }
}

}  // namespace

void check_shapes(const MoeRouteArgs& args) {
  check_f32_matrix(args.logits, "logits");
  check_i32_matrix(args.expert_ids, "expert_ids");
  check_f32_matrix(args.weights, "weights");
  check_same_matrix(args.expert_ids, args.weights, "expert_ids, weights");
  CHECK_EQ(args.logits.dim(0), args.expert_ids.dim(0));
  const int64_t n_experts = args.logits.dim(1);
  if (args.choice_bias.defined()) {
    check_vector(args.choice_bias, DType::kF32, "choice_bias");
    CHECK_EQ(args.choice_bias.dim(0), n_experts);
  }
  int64_t n_allowed = n_experts;
  if (args.group_score != GroupScore::kNone) {
    CHECK_GT(args.n_groups, 0);
    CHECK_EQ(n_experts % args.n_groups, 0) << args.n_groups << " groups";
    CHECK_LE(1, args.n_chosen_groups);
    CHECK_LE(args.n_chosen_groups, args.n_groups);
    n_allowed = n_experts / args.n_groups * args.n_chosen_groups;
    if (args.group_score == GroupScore::kTopTwoSum) CHECK_LE(2 * args.n_groups, n_experts);
  }
  CHECK_LE(1, args.expert_ids.dim(1)) << "top_k";
  CHECK_LE(args.expert_ids.dim(1), n_allowed) << "top_k";
}

void check_shapes(const MoeDispatchArgs& args) {
  check_i32_matrix(args.expert_ids, "expert_ids");
  check_i32_matrix(args.row_of_choice, "row_of_choice");
  check_same_matrix(args.expert_ids, args.row_of_choice, "expert_ids, row_of_choice");
  check_vector(args.token_of_row, DType::kI32, "token_of_row");
  check_vector(args.expert_start, DType::kI32, "expert_start");
  CHECK_LE(0, args.first_expert);
  CHECK_LE(0, args.n_local_experts);
  CHECK_EQ(args.token_of_row.dim(0), args.expert_ids.numel());
  CHECK_EQ(args.expert_start.dim(0), args.n_local_experts + 1);
}

void check_shapes(const MoeGatherArgs& args) {
  check_activation_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  CHECK_EQ(args.x.dim(1), args.out.dim(1));
  check_i32_matrix(args.row_of_choice, "row_of_choice");
  CHECK_EQ(args.row_of_choice.dim(0), args.x.dim(0));
  check_vector(args.token_of_row, DType::kI32, "token_of_row");
  check_vector(args.expert_start, DType::kI32, "expert_start");
  CHECK_EQ(args.token_of_row.dim(0), args.out.dim(0));
  CHECK_EQ(args.row_of_choice.numel(), args.out.dim(0));
  check_weights(args.weights, args.row_of_choice);
}

void check_shapes(const GroupedLinearArgs& args) {
  check_activation_matrix(args.x, "x");
  check_f32_matrix(args.out, "out");
  CHECK_EQ(args.x.dim(0), args.out.dim(0));
  check_vector(args.expert_start, DType::kI32, "expert_start");
  const auto n_experts = static_cast<int64_t>(args.weights.size());
  CHECK_EQ(args.expert_start.dim(0), n_experts + 1);
  for (const PackedWeight* weight : args.weights) {
    CHECK(weight != nullptr);
    CHECK_EQ(args.x.dim(1), weight->in_features());
    CHECK_EQ(args.out.dim(1), weight->out_features());
  }
  if (!args.bias.defined()) return;
  check_f32_matrix(args.bias, "bias");
  CHECK_EQ(args.bias.dim(0), n_experts) << "bias";
  CHECK_EQ(args.bias.dim(1), args.out.dim(1)) << "bias";
}

void check_shapes(const MoeCombineArgs& args) {
  check_f32_matrix(args.y, "y");
  check_f32_matrix(args.out, "out");
  check_i32_matrix(args.row_of_choice, "row_of_choice");
  CHECK_EQ(args.y.dim(1), args.out.dim(1));
  CHECK_EQ(args.y.dim(0), args.row_of_choice.numel());
  CHECK_EQ(args.row_of_choice.dim(0), args.out.dim(0));
  check_weights(args.weights, args.row_of_choice);
}

void check_contents(const MoeGatherArgs& args) {
  const int32_t n_rows = args.expert_start.as<int32_t>()[args.expert_start.dim(0) - 1];
  CHECK_LE(n_rows, args.out.dim(0));
  check_rows_of_choices(args.row_of_choice, n_rows);
  for (int64_t r = 0; r < n_rows; ++r) {
    CHECK_LE(0, args.token_of_row.as<int32_t>()[r]) << "row " << r;
    CHECK_LT(args.token_of_row.as<int32_t>()[r], args.x.dim(0)) << "row " << r;
  }
}

void check_contents(const GroupedLinearArgs& args) {
  const int32_t* start = args.expert_start.as<int32_t>();
  const int64_t n_experts = args.expert_start.dim(0) - 1;
  CHECK_EQ(start[0], 0);
  for (int64_t e = 0; e < n_experts; ++e) CHECK_LE(start[e], start[e + 1]) << "expert " << e;
  CHECK_LE(start[n_experts], args.x.dim(0));
}

void check_contents(const MoeCombineArgs& args) {
  check_rows_of_choices(args.row_of_choice, args.y.dim(0));
}

}  // namespace trireme::kernels
