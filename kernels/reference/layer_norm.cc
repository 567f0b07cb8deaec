#include <cmath>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void layer_norm(const LayerNormArgs& args) {
  const int64_t hidden = args.x.dim(1);
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    const float* x = args.x.row<float>(i);
    float sum = 0;
    for (int64_t j = 0; j < hidden; ++j) sum += x[j];
    const float mean = sum / static_cast<float>(hidden);
    float sum_of_squares = 0;
    for (int64_t j = 0; j < hidden; ++j) sum_of_squares += (x[j] - mean) * (x[j] - mean);
    const float variance = sum_of_squares / static_cast<float>(hidden);
    const float inv_deviation = 1.0f / std::sqrt(variance + args.eps);
    for (int64_t j = 0; j < hidden; ++j) {
      const float bias = args.bias.defined() ? args.bias.as<float>()[j] : 0;
      store(args.out, i, j, (x[j] - mean) * inv_deviation * args.weight.as<float>()[j] + bias);
    }
  }
}

}  // namespace trireme::kernels::reference
