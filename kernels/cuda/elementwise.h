// Walks over the elements of matrices: the shape of a launch, and the loop of its kernel.
#pragma once

#include "kernels/cuda/device.h"

namespace trireme::kernels::cuda {

inline constexpr int kRowThreads = 256;

// Blocks along x are stretches of a row, along y rows; more rows than a grid has are walked in
// strides.
inline LaunchShape elementwise_shape(int64_t n_rows, int64_t n_columns) {
  return {.grid_x = n_columns == 0 ? 0 : ceil_div<int64_t>(n_columns, kRowThreads),
          .grid_y = n_rows < kMaxGridYZ ? n_rows : kMaxGridYZ,
          .block = kRowThreads};
}

template <typename Function>
__device__ __forceinline__ void each_element(int64_t n_rows, int64_t n_columns,
                                             Function&& function) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= n_columns) return;
  for (int64_t i = blockIdx.y; i < n_rows; i += gridDim.y) function(i, j);
}

}  // namespace trireme::kernels::cuda
