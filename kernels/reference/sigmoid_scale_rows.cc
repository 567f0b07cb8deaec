#include <cmath>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    const float factor = 1.0f / (1.0f + std::exp(-*args.gate.row<float>(i)));
    for (int64_t j = 0; j < args.x.dim(1); ++j) args.x.row<float>(i)[j] *= factor;
  }
}

}  // namespace trireme::kernels::reference
