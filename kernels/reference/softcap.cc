#include <cmath>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void softcap(const SoftcapArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    float* x = args.x.row<float>(i);
    for (int64_t j = 0; j < args.x.dim(1); ++j) x[j] = args.cap * std::tanh(x[j] / args.cap);
  }
}

}  // namespace trireme::kernels::reference
