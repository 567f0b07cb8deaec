#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void row_sum_squares(const RowSumSquaresArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    const float* x = args.x.row<float>(i);
    float sum = 0;
    for (int64_t j = 0; j < args.x.dim(1); ++j) sum += x[j] * x[j];
    *args.out.row<float>(i) = sum;
  }
}

}  // namespace trireme::kernels::reference
