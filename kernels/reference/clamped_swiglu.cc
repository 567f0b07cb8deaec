#include <algorithm>
#include <cmath>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void clamped_swiglu(const ClampedSwigluArgs& args) {
  const int64_t width = args.out.dim(1);
  for (int64_t i = 0; i < args.out.dim(0); ++i) {
    const float* row = args.gate_up.row<float>(i);
    for (int64_t j = 0; j < width; ++j) {
      const float gate = std::min(row[j], args.limit);
      const float up = std::clamp(row[width + j], -args.limit, args.limit);
      const float sigmoid = 1.0f / (1.0f + std::exp(-args.alpha * gate));
      store(args.out, i, j, (up + 1.0f) * gate * sigmoid);
    }
  }
}

}  // namespace trireme::kernels::reference
