#include "worker/pooling.h"

#include <cmath>

#include "base/check.h"

namespace trireme::worker {

std::vector<float> pool_rows(const float* rows, int64_t n_rows, int64_t width,
                             const plan::EncoderSpec& encoder) {
  CHECK_GT(n_rows, 0);
  const int64_t n = encoder.pooling == plan::Pooling::kFirst ? 1 : n_rows;
  std::vector<double> sums(static_cast<size_t>(width), 0.0);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t c = 0; c < width; ++c) sums[static_cast<size_t>(c)] += rows[row * width + c];
  }
  double squares = 0;
  for (double& sum : sums) {
    sum /= static_cast<double>(n);
    squares += sum * sum;
  }
  // A vector of zeros has no direction to keep.
  const double scale = encoder.normalize && squares > 0 ? 1 / std::sqrt(squares) : 1;
  std::vector<float> pooled;
  pooled.reserve(sums.size());
  for (const double sum : sums) pooled.push_back(static_cast<float>(sum * scale));
  return pooled;
}

}  // namespace trireme::worker
