#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void add(const AddArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    const float* x = args.x.row<float>(i);
    for (int64_t j = 0; j < args.x.dim(1); ++j) args.y.row<float>(i)[j] += args.scale * x[j];
  }
}

}  // namespace trireme::kernels::reference
