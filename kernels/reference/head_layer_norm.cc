#include <cmath>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void head_layer_norm(const HeadLayerNormArgs& args) {
  const int64_t head_dim = args.x.dim(2);
  for (int64_t t = 0; t < args.x.dim(0); ++t) {
    for (int64_t h = 0; h < args.x.dim(1); ++h) {
      float* x = args.x.row<float>(t) + h * head_dim;
      float sum = 0;
      for (int64_t c = 0; c < head_dim; ++c) sum += x[c];
      const float mean = sum / static_cast<float>(head_dim);
      float sum_of_squares = 0;
      for (int64_t c = 0; c < head_dim; ++c) sum_of_squares += (x[c] - mean) * (x[c] - mean);
      const float variance = sum_of_squares / static_cast<float>(head_dim);
      const float inv_deviation = 1.0f / std::sqrt(variance + args.eps);
      for (int64_t c = 0; c < head_dim; ++c) {
        x[c] = (x[c] - mean) * inv_deviation * head_weight(args.weight, h, c);
      }
    }
  }
}

}  // namespace trireme::kernels::reference
