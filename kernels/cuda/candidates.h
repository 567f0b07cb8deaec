// Index arithmetic of the candidates kernels: keys that sort as candidates do, and the steps of a
// bitonic sort. Plain, for kernels and host tests alike.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch_shape.h"

namespace trireme::kernels::cuda {

// What a block sorts at once; half as many threads.
inline constexpr int kSortWidth = 1024;

// A greater key is a better candidate: by score, then by the lower column. 0 is none.
TRIREME_HD inline uint64_t candidate_key(uint32_t score_bits, int64_t column) {
  if (score_bits == 0x80000000u) score_bits = 0;  // the two zeros are one score
  const uint32_t rising = (score_bits & 0x80000000u) != 0 ? ~score_bits : score_bits | 0x80000000u;
  return (static_cast<uint64_t>(rising) << 32) | (0xffffffffu - static_cast<uint32_t>(column));
}
TRIREME_HD inline uint32_t score_bits_of(uint64_t key) {
  const auto rising = static_cast<uint32_t>(key >> 32);
  return (rising & 0x80000000u) != 0 ? rising & 0x7fffffffu : ~rising;
}
TRIREME_HD inline int64_t column_of(uint64_t key) {
  return 0xffffffffu - static_cast<uint32_t>(key & 0xffffffffu);
}

// The pair that thread `t` of half as many as elements puts in order in a step (`run`, `stride`) of
// a bitonic sort into falling order.  Source: Batcher, AFIPS 1968.
struct SortPair {
  int low;
  int high;
  bool falling;
};
TRIREME_HD constexpr SortPair sort_pair(int t, int run, int stride) {
  const int low = t / stride * 2 * stride + t % stride;
  return {low, low + stride, (low & run) == 0};
}

// How many of k sorted candidates, best first and -1 behind the last, come before one that is not
// among them: a greater value, or the same and a lower id.
TRIREME_HD inline int count_sorted_before(const int32_t* ids, const float* values, int k,
                                          float value, int32_t id) {
  int begin = 0;
  int end = k;
  while (begin < end) {
    const int middle = begin + (end - begin) / 2;
    const bool before = ids[middle] >= 0 &&
                        (values[middle] > value || (values[middle] == value && ids[middle] < id));
    if (before) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// How rows of `width` columns become `k` candidates: passes over chunks of kSortWidth, each of
// which leaves k of every chunk.
struct CandidatePlan {
  int64_t n_first_chunks = 0;  // of a row
  int64_t rows_at_once = 0;    // whose keys fit half of the workspace
  int n_merges = 0;            // passes after the first
};
constexpr CandidatePlan plan_candidates(int64_t width, int64_t k, int64_t workspace_keys) {
  CandidatePlan plan;
  plan.n_first_chunks = ceil_div<int64_t>(width < 1 ? 1 : width, kSortWidth);
  plan.rows_at_once = workspace_keys / 2 / (plan.n_first_chunks * k);
  for (int64_t n = plan.n_first_chunks; n > 1; n = ceil_div<int64_t>(n * k, kSortWidth)) {
    ++plan.n_merges;
  }
  return plan;
}

}  // namespace trireme::kernels::cuda
