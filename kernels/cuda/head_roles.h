// Which head a warp of norm_rope_append works on. Plain arithmetic.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch_shape.h"

namespace trireme::kernels::cuda {

struct HeadRole {
  int part;      // 0: q, 1: k, 2: v
  int64_t head;  // in its part
};

// Of a token's heads, counted through q, k and v.
TRIREME_HD constexpr HeadRole head_role(int64_t index, int64_t n_heads, int64_t n_kv_heads) {
  if (index < n_heads) return {0, index};
  index -= n_heads;
  return index < n_kv_heads ? HeadRole{1, index} : HeadRole{2, index - n_kv_heads};
}

// Four heads to a block, each in shared memory of its own.
inline LaunchShape norm_rope_append_shape(int64_t n_tokens, int64_t n_heads, int64_t n_kv_heads,
                                          int64_t head_dim) {
  constexpr int kHeadsPerBlock = 4;
  return {.grid_x = ceil_div<int64_t>(n_tokens * (n_heads + 2 * n_kv_heads), kHeadsPerBlock),
          .block = kHeadsPerBlock * kWarpSize,
          .shared_bytes = kHeadsPerBlock * static_cast<size_t>(head_dim) * sizeof(float)};
}

}  // namespace trireme::kernels::cuda
