#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void moe_combine(const MoeCombineArgs& args) {
  for (int64_t t = 0; t < args.out.dim(0); ++t) {
    float* out = args.out.row<float>(t);
    for (int64_t j = 0; j < args.out.dim(1); ++j) out[j] = 0;
    for (int64_t c = 0; c < args.row_of_choice.dim(1); ++c) {
      const int32_t row = args.row_of_choice.row<int32_t>(t)[c];
      if (row < 0) continue;
      const float weight = args.weights.defined() ? args.weights.row<float>(t)[c] : 1;
      for (int64_t j = 0; j < args.out.dim(1); ++j) out[j] += weight * args.y.row<float>(row)[j];
    }
  }
}

}  // namespace trireme::kernels::reference
