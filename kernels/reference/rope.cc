#include <cmath>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

void rotate(float* heads, int64_t n_heads, int64_t head_dim, int64_t half, int64_t i, float cos,
            float sin) {
  for (int64_t h = 0; h < n_heads; ++h) {
    float* x = heads + h * head_dim;
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * cos - b * sin;
    x[i + half] = b * cos + a * sin;
  }
}

}  // namespace

void rope(const RopeArgs& args) {
  const int64_t half = args.inv_freq.dim(0);
  const int64_t head_dim = args.q.dim(2);
  for (int64_t t = 0; t < args.positions.dim(0); ++t) {
    for (int64_t i = 0; i < half; ++i) {
      // A position of 17 bits times a frequency of 24 is exact in f64; in f32 the angle would be
      // off by a hundredth of a radian at position 131072.
      const double angle = double{args.inv_freq.as<float>()[i]} * args.positions.as<int32_t>()[t];
      const auto cos = static_cast<float>(std::cos(angle) * args.scale);
      const auto sin = static_cast<float>(std::sin(angle) * args.scale);
      rotate(args.q.row<float>(t), args.q.dim(1), head_dim, half, i, cos, sin);
      rotate(args.k.row<float>(t), args.k.dim(1), head_dim, half, i, cos, sin);
    }
  }
}

}  // namespace trireme::kernels::reference
