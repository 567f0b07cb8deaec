#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void add_rms_norm(const AddRmsNormArgs& args) {
  add({.x = args.delta, .y = args.residual, .scale = args.delta_scale});
  rms_norm({.x = args.residual, .weight = args.weight, .eps = args.eps, .out = args.out});
}

}  // namespace trireme::kernels::reference
