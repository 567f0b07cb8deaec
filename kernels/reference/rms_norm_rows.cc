#include <cmath>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void rms_norm_rows(const RmsNormRowsArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    float* x = args.x.row<float>(i);
    const float mean_square =
        *args.sum_squares.row<float>(i) / static_cast<float>(args.total_width);
    const float inv_rms = 1.0f / std::sqrt(mean_square + args.eps);
    for (int64_t j = 0; j < args.x.dim(1); ++j) {
      x[j] = x[j] * inv_rms * args.weight.as<float>()[j];
    }
  }
}

}  // namespace trireme::kernels::reference
