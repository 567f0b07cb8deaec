#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void gated_activation(const GatedActivationArgs& args) {
  const int64_t width = args.out.dim(1);
  for (int64_t i = 0; i < args.out.dim(0); ++i) {
    const float* gate = args.gate_up.row<float>(i);
    const float* up = gate + width;
    for (int64_t j = 0; j < width; ++j) {
      store(args.out, i, j, activate(args.activation, gate[j]) * up[j]);
    }
  }
}

}  // namespace trireme::kernels::reference
