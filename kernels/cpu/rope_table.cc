#include "kernels/cpu/rope_table.h"

#include <algorithm>
#include <cmath>

namespace trireme::kernels::cpu {

bool RopeTable::holds(const RopeArgs& args) const {
  const int32_t* positions = args.positions.as<int32_t>();
  const float* inv_freq = args.inv_freq.as<float>();
  return scale_ == args.scale &&
         std::equal(positions_.begin(), positions_.end(), positions,
                    positions + args.positions.dim(0)) &&
         std::equal(inv_freq_.begin(), inv_freq_.end(), inv_freq, inv_freq + args.inv_freq.dim(0));
}

void RopeTable::prepare(const RopeArgs& args, ThreadPool* pool) {
  if (holds(args)) return;
  const int64_t n_tokens = args.positions.dim(0);
  half_ = args.inv_freq.dim(0);
  scale_ = args.scale;
  positions_.assign(args.positions.as<int32_t>(), args.positions.as<int32_t>() + n_tokens);
  inv_freq_.assign(args.inv_freq.as<float>(), args.inv_freq.as<float>() + half_);
  cos_.resize(static_cast<size_t>(n_tokens * half_));
  sin_.resize(static_cast<size_t>(n_tokens * half_));
  pool->split(n_tokens, n_tokens * half_ > 512, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < half_; ++i) {
        const double angle =
            double{inv_freq_[static_cast<size_t>(i)]} * positions_[static_cast<size_t>(t)];
        const auto at = static_cast<size_t>(t * half_ + i);
        cos_[at] = static_cast<float>(std::cos(angle) * scale_);
        sin_[at] = static_cast<float>(std::sin(angle) * scale_);
      }
    }
  });
}

}  // namespace trireme::kernels::cpu
