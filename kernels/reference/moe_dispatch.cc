#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void moe_dispatch(const MoeDispatchArgs& args) {
  int32_t row = 0;
  for (int64_t t = 0; t < args.expert_ids.dim(0); ++t) {
    for (int64_t c = 0; c < args.expert_ids.dim(1); ++c) args.row_of_choice.row<int32_t>(t)[c] = -1;
  }
  for (int32_t e = 0; e < args.n_local_experts; ++e) {
    args.expert_start.as<int32_t>()[e] = row;
    for (int64_t t = 0; t < args.expert_ids.dim(0); ++t) {
      for (int64_t c = 0; c < args.expert_ids.dim(1); ++c) {
        if (args.expert_ids.row<int32_t>(t)[c] != args.first_expert + e) continue;
        args.token_of_row.as<int32_t>()[row] = static_cast<int32_t>(t);
        args.row_of_choice.row<int32_t>(t)[c] = row++;
      }
    }
  }
  args.expert_start.as<int32_t>()[args.n_local_experts] = row;
}

}  // namespace trireme::kernels::reference
