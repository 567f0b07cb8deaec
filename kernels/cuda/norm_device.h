// The arithmetic of RMS norms, shared by the kernels that must agree on its bits. A thread adds the
// squares of the vectors that it walks, the block adds its threads' sums. Included by .cu files
// alone.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/vectors.h"

namespace trireme::kernels::cuda {

template <int kCount>
__device__ __forceinline__ void add_squares(const Vector<float, kCount>& values, float& sum) {
  for (int i = 0; i < kCount; ++i) sum += values.at[i] * values.at[i];
}

__device__ __forceinline__ float inverse_rms(float sum_squares, int64_t width, float eps) {
  return 1.0f / sqrtf(sum_squares / static_cast<float>(width) + eps);
}

template <typename Out, int kCount>
__device__ __forceinline__ void store_normed(const Vector<float, kCount>& values, float inv_rms,
                                             const float* weight, Out* out) {
  const auto weights = load_vector<kCount>(weight);
  Vector<Out, kCount> result;
  for (int i = 0; i < kCount; ++i) {
    result.at[i] = device_from_f32<Out>(values.at[i] * inv_rms * weights.at[i]);
  }
  store_vector(out, result);
}

}  // namespace trireme::kernels::cuda
