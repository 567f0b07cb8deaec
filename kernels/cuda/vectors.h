// Vectors of elements for row kernels: loads and stores of up to 16 bytes, and when operands allow
// them.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/tensor.h"

namespace trireme::kernels::cuda {

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T at[kCount];
};

template <int kCount, typename T>
__device__ __forceinline__ Vector<T, kCount> load_vector(const T* from) {
  return *reinterpret_cast<const Vector<T, kCount>*>(from);
}
template <int kCount, typename T>
__device__ __forceinline__ void store_vector(T* to, const Vector<T, kCount>& value) {
  *reinterpret_cast<Vector<T, kCount>*>(to) = value;
}

// Rows of `view` can be read four elements at a time.
inline bool takes_vectors(const TensorView& view) {
  if (!view.defined()) return true;
  const size_t bytes = 4 * size_of(view.dtype);
  return reinterpret_cast<uintptr_t>(view.data) % bytes == 0 && view.row_numel() % 4 == 0 &&
         (view.row_stride % 4 == 0 || view.dim(0) <= 1);
}

}  // namespace trireme::kernels::cuda
