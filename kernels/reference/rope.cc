#include <cmath>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

struct Pair {
  int64_t first;  // channels
  int64_t second;
};

void rotate(const TensorView& heads, int64_t token, Pair pair, float cos, float sin) {
  if (!heads.defined()) return;
  for (int64_t h = 0; h < heads.dim(1); ++h) {
    float* x = heads.row<float>(token) + h * heads.dim(2);
    const float a = x[pair.first];
    const float b = x[pair.second];
    x[pair.first] = a * cos - b * sin;
    x[pair.second] = b * cos + a * sin;
  }
}

}  // namespace

void rope(const RopeArgs& args) {
  const int64_t n_pairs = args.inv_freq.dim(args.inv_freq.rank - 1);
  for (int64_t t = 0; t < args.positions.dim(0); ++t) {
    const int64_t set = args.set_of_token.defined() ? args.set_of_token.as<int32_t>()[t] : 0;
    const float* inv_freq = args.inv_freq.as<float>() + set * n_pairs;
    for (int64_t i = 0; i < n_pairs; ++i) {
      // A position of 17 bits times a frequency of 24 is exact in f64; in f32 the angle would be
      // off by a hundredth of a radian at position 131072.
      const double angle = double{inv_freq[i]} * args.positions.as<int32_t>()[t];
      const auto cos = static_cast<float>(std::cos(angle) * args.scale);
      const auto sin = static_cast<float>(std::sin(angle) * args.scale);
      const Pair pair =
          args.layout == RopeLayout::kHalfSplit ? Pair{i, i + n_pairs} : Pair{2 * i, 2 * i + 1};
      rotate(args.q, t, pair, cos, sin);
      rotate(args.k, t, pair, cos, sin);
    }
  }
}

}  // namespace trireme::kernels::reference
