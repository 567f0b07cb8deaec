#include <cmath>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void rms_norm(const RmsNormArgs& args) {
  const int64_t hidden = args.x.dim(1);
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    const float* x = args.x.row<float>(i);
    float sum_of_squares = 0;
    for (int64_t j = 0; j < hidden; ++j) sum_of_squares += x[j] * x[j];
    const float inv_rms = 1.0f / std::sqrt(sum_of_squares / static_cast<float>(hidden) + args.eps);
    for (int64_t j = 0; j < hidden; ++j) {
      store(args.out, i, j, x[j] * inv_rms * args.weight.as<float>()[j]);
    }
  }
}

}  // namespace trireme::kernels::reference
