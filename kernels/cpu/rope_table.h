// RopeTables: cos and sin of every token's rotation angles, computed once per step and reused by
// its layers.
//
// A few tables are kept, since the layers of one model may rotate in turns by different
// frequencies. Not thread-safe. Angles are taken in f64, where position * inv_freq is exact up to
// position 2^29.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace trireme::kernels::cpu {

class RopeTable {
 public:
  bool holds(const RopeArgs& args) const;
  void fill(const RopeArgs& args, ThreadPool* pool);

  // Half-split layout: one value per pair. Interleaved: one per channel, and those of sin at even
  // channels are negated.
  const float* cos(int64_t token) const { return cos_.data() + token * width_; }
  const float* sin(int64_t token) const { return sin_.data() + token * width_; }

 private:
  void fill_token(int64_t token, const float* sets);
  // The set of the first token, then of each that has another than the token before it.
  template <typename Visit>
  void for_each_set(Visit visit) const;

  int64_t n_pairs_ = 0;
  int64_t width_ = 0;  // values per token
  float scale_ = 0;
  RopeLayout layout_ = RopeLayout::kHalfSplit;
  std::vector<int32_t> positions_;
  std::vector<int32_t> sets_;    // of each token; empty: 0
  std::vector<float> inv_freq_;  // [n_pairs] for each set that for_each_set() names
  std::vector<float> cos_;       // [n_tokens, width]
  std::vector<float> sin_;
};

class RopeTables {
 public:
  // The table for these positions, frequencies, layout and scale; valid until the next call.
  const RopeTable& get(const RopeArgs& args, ThreadPool* pool);

 private:
  std::array<RopeTable, 4> tables_;
  size_t next_ = 0;  // the table that is overwritten next
};

}  // namespace trireme::kernels::cpu
