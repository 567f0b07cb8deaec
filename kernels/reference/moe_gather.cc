#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

float weight_of_row(const MoeGatherArgs& args, int64_t token, int64_t row) {
  if (!args.weights.defined()) return 1;
  for (int64_t c = 0; c < args.row_of_choice.dim(1); ++c) {
    if (args.row_of_choice.row<int32_t>(token)[c] == row) return args.weights.row<float>(token)[c];
  }
  CHECK(false) << "no choice of token " << token << " has row " << row;
  return 0;
}

}  // namespace

void moe_gather(const MoeGatherArgs& args) {
  const int32_t n_rows = args.expert_start.as<int32_t>()[args.expert_start.dim(0) - 1];
  for (int64_t r = 0; r < n_rows; ++r) {
    const int64_t token = args.token_of_row.as<int32_t>()[r];
    const float weight = weight_of_row(args, token, r);
    for (int64_t j = 0; j < args.x.dim(1); ++j) {
      store(args.out, r, j, load(args.x, token, j) * weight);
    }
  }
}

}  // namespace trireme::kernels::reference
