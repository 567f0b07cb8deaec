// RopeTable: cos and sin of every token's rotation angles, computed once per step and reused by its
// layers.
//
// Not thread-safe. Angles are taken in f64, where position * inv_freq is exact up to position 2^29.
#pragma once

#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace trireme::kernels::cpu {

class RopeTable {
 public:
  // Fills the table for these positions, frequencies and scale, unless it holds just that already.
  void prepare(const RopeArgs& args, ThreadPool* pool);

  const float* cos(int64_t token) const { return cos_.data() + token * half_; }
  const float* sin(int64_t token) const { return sin_.data() + token * half_; }

 private:
  bool holds(const RopeArgs& args) const;

  int64_t half_ = 0;
  float scale_ = 0;
  std::vector<int32_t> positions_;
  std::vector<float> inv_freq_;
  std::vector<float> cos_;  // [n_tokens, half]
  std::vector<float> sin_;
};

}  // namespace trireme::kernels::cpu
