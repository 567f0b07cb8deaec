#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void scale(const ScaleArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    for (int64_t j = 0; j < args.x.dim(1); ++j) args.x.row<float>(i)[j] *= args.factor;
  }
}

}  // namespace trireme::kernels::reference
