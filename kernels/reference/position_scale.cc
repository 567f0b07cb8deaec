#include <cmath>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void position_scale(const PositionScaleArgs& args) {
  for (int64_t t = 0; t < args.x.dim(0); ++t) {
    const auto position = static_cast<float>(args.positions.as<int32_t>()[t]);
    const float factor =
        1.0f + args.attn_scale * std::log1p(std::floor((position + 1.0f) / args.floor_scale));
    for (int64_t j = 0; j < args.x.row_numel(); ++j) args.x.row<float>(t)[j] *= factor;
  }
}

}  // namespace trireme::kernels::reference
