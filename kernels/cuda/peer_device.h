// How a kernel talks to other devices and to the host while it runs: flags with an order, words in
// host memory, time. Included by .cu files alone.
//
// Flags are by the memory model of PTX ISA, "Memory Consistency Model": a release at system scope
// behind the block's barrier covers what all its threads have written, and an acquire of the same
// word before a barrier covers what all of them read.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/vectors.h"

#if defined(TRIREME_CUDA_EMULATED)
#include <chrono>
#include <thread>
#endif

namespace trireme::kernels::cuda {

#if defined(TRIREME_CUDA_EMULATED)

inline void store_release_system(unsigned* address, unsigned value) {
  __atomic_store_n(address, value, __ATOMIC_RELEASE);
}
inline unsigned load_acquire_system(const unsigned* address) {
  return __atomic_load_n(address, __ATOMIC_ACQUIRE);
}
inline unsigned load_relaxed(const unsigned* address) {
  return __atomic_load_n(address, __ATOMIC_RELAXED);
}
inline void store_relaxed(unsigned* address, unsigned value) {
  __atomic_store_n(address, value, __ATOMIC_RELAXED);
}
inline uint64_t device_time_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}
inline void spin_pause() { std::this_thread::yield(); }

template <int kCount, typename T>
Vector<T, kCount> load_fresh_vector(const T* from) {
  return load_vector<kCount>(from);
}

inline void load_kernel(const void*) {}

#else

__device__ __forceinline__ void store_release_system(unsigned* address, unsigned value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
__device__ __forceinline__ unsigned load_acquire_system(const unsigned* address) {
  unsigned value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}
__device__ __forceinline__ unsigned load_relaxed(const unsigned* address) {
  return *static_cast<const volatile unsigned*>(address);
}
__device__ __forceinline__ void store_relaxed(unsigned* address, unsigned value) {
  *static_cast<volatile unsigned*>(address) = value;
}
__device__ __forceinline__ uint64_t device_time_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}
__device__ __forceinline__ void spin_pause() {}

// Past the first-level cache: what other blocks or devices have written in this launch.
template <int kCount, typename T>
__device__ __forceinline__ Vector<T, kCount> load_fresh_vector(const T* from) {
  static_assert(sizeof(T) == 4 && (kCount == 1 || kCount == 4));
  Vector<T, kCount> out;
  if constexpr (kCount == 4) {
    const float4 v = __ldcg(reinterpret_cast<const float4*>(from));
    out.at[0] = v.x, out.at[1] = v.y, out.at[2] = v.z, out.at[3] = v.w;
  } else {
    out.at[0] = __ldcg(from);
  }
  return out;
}

void load_kernel(const void* kernel);  // runtime.cc

#endif

}  // namespace trireme::kernels::cuda
