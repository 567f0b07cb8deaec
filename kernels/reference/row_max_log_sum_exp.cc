#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

// A row that is empty or all -inf (a rank whose vocabulary slice is padding) has max -inf and sum
// 0.
void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args) {
  constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < args.max.dim(0); ++i) {
    const float* x = args.x.row<float>(args.rows.defined() ? args.rows.as<int32_t>()[i] : i);
    const float inverse =
        args.inverse_temperature.defined() ? args.inverse_temperature.as<float>()[i] : 1;
    float max = kMinusInfinity;
    for (int64_t j = 0; j < args.x.dim(1); ++j) max = std::max(max, x[j]);
    // In f64: beside a sum near 1, the tail of a large vocabulary would be rounded away.
    double sum = 0;
    if (max != kMinusInfinity) {
      for (int64_t j = 0; j < args.x.dim(1); ++j) sum += std::exp((x[j] - max) * inverse);
    }
    args.max.as<float>()[i] = max;
    args.sum_exp.as<float>()[i] = static_cast<float>(sum);
  }
}

}  // namespace trireme::kernels::reference
