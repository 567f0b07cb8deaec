// What the kernels are written against: conversions, exchanges inside a warp and a block, the
// matrix instruction, and `launch`.
//
// The only header of the op kernels that names CUDA. With TRIREME_CUDA_EMULATED the same kernels
// compile as plain C++ and run on the emulator (emulated/emulator.h). A kernel takes one struct of
// parameters by value. Included by .cu files alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/launch_shape.h"
#include "kernels/cuda/launcher.h"
#include "kernels/dtype.h"
#include "kernels/quant/number_formats.h"

#if defined(TRIREME_CUDA_EMULATED)
#include "kernels/cuda/emulated/emulator.h"
#else
#include <cuda_runtime.h>
#endif

namespace trireme::kernels::cuda {

#if defined(TRIREME_CUDA_EMULATED)

inline float device_to_f32(float value) { return value; }
inline float device_to_f32(bf16 value) { return to_f32(value); }
inline float device_to_f32(f16 value) { return to_f32(value); }
inline float device_to_f32(e4m3 value) { return to_f32(value); }
template <typename T>
T device_from_f32(float value);
template <>
inline float device_from_f32<float>(float value) {
  return value;
}
template <>
inline bf16 device_from_f32<bf16>(float value) {
  return to_bf16(value);
}
template <>
inline f16 device_from_f32<f16>(float value) {
  return to_f16(value);
}
template <>
inline e4m3 device_from_f32<e4m3>(float value) {
  return to_e4m3(value);
}

inline void block_sync() { emulator::block_barrier(); }
inline void warp_sync() { emulator::warp_barrier(); }
inline unsigned char* dynamic_shared() { return emulator::dynamic_shared(); }
inline void device_fence() {}
inline float load_fresh(const float* address) { return *address; }
inline unsigned atomic_increment(unsigned* counter) { return (*counter)++; }

template <typename T>
T shuffle_xor(T value, int mask) {
  static_assert(sizeof(T) == 4);
  uint32_t word;
  std::memcpy(&word, &value, 4);
  const auto* lanes = emulator::warp_exchange(&word, 1);
  T out;
  std::memcpy(&out, lanes[(threadIdx.x ^ static_cast<unsigned>(mask)) % kWarpSize], 4);
  return out;
}

// A bit per lane.
inline uint32_t warp_ballot(bool yes) {
  const uint32_t word = yes ? 1 : 0;
  const auto* lanes = emulator::warp_exchange(&word, 1);
  uint32_t bits = 0;
  for (int lane = 0; lane < kWarpSize; ++lane) bits |= lanes[lane][0] << lane;
  return bits;
}
inline int count_bits(uint32_t bits) { return __builtin_popcount(bits); }

inline uint4 load_stream(const void* address) {
  uint4 value;
  std::memcpy(&value, address, 16);
  return value;
}

inline uint4 load_cached(const void* address) { return load_stream(address); }

// D = A B + C of the whole warp, by the layouts of PTX ISA, "Matrix fragments for mma.m16n8k16".
inline void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const auto* lanes = emulator::warp_exchange(words, 6);
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const auto half = [](uint32_t word, int i) {
    return to_f32(bf16{static_cast<uint16_t>(word >> (16 * i))});
  };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + (i >= 2 ? 8 : 0);
    const int column = lane % 4 * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; ++k) {
      const int a_word = (row >= 8 ? 1 : 0) + (k >= 8 ? 2 : 0);
      const int b_word = 4 + (k >= 8 ? 1 : 0);
      sum += half(lanes[row % 8 * 4 + k % 8 / 2][a_word], k % 2) *
             half(lanes[column * 4 + k % 8 / 2][b_word], k % 2);
    }
    c[i] += sum;
  }
}

// {a, b} as two bf16 in one word, a in the low half.
inline uint32_t pack_bf16(float a, float b) {
  return uint32_t{to_bf16(a).bits} | uint32_t{to_bf16(b).bits} << 16;
}

// a * b + c of two bf16 each, rounded once; subnormal numbers count.
inline uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
  const auto half = [](uint32_t word, int i) {
    return to_f32(bf16{static_cast<uint16_t>(word >> (16 * i))});
  };
  return pack_bf16(std::fma(half(a, 0), half(b, 0), half(c, 0)),
                   std::fma(half(a, 1), half(b, 1), half(c, 1)));
}

// a + s * b with two roundings, as the reference has them.
inline float add_scaled(float a, float s, float b) { return a + s * b; }

template <typename Params>
void launch(void (*kernel)(Params), const char* name, const LaunchShape& shape, const Launcher&,
            const Params& params) {
  check_launch(shape, name);
  if (shape.empty()) return;
  emulator::enqueue([=] { emulator::run_grid(shape, [&] { kernel(params); }); });
}

#else

__device__ __forceinline__ float device_to_f32(float value) { return value; }
__device__ __forceinline__ float device_to_f32(bf16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}
__device__ __forceinline__ float device_to_f32(f16 value) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(value.bits));
  return out;
}
__device__ __forceinline__ float device_to_f32(e4m3 value) {
  return quant::e4m3_to_f32(value.bits);
}
template <typename T>
__device__ __forceinline__ T device_from_f32(float value) {
  T out;
  if constexpr (std::is_same_v<T, float>) {
    out = value;
  } else if constexpr (std::is_same_v<T, e4m3>) {
    out.bits = quant::e4m3_from_f32(value);
  } else if constexpr (std::is_same_v<T, bf16>) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
  }
  return out;
}

__device__ __forceinline__ void block_sync() { __syncthreads(); }
__device__ __forceinline__ void warp_sync() { __syncwarp(); }
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char trireme_dynamic_shared[];
  return trireme_dynamic_shared;
}
__device__ __forceinline__ void device_fence() { __threadfence(); }
// Past the first-level cache: what other blocks have written in this launch.
__device__ __forceinline__ float load_fresh(const float* address) { return __ldcg(address); }
__device__ __forceinline__ unsigned atomic_increment(unsigned* counter) {
  return atomicAdd(counter, 1u);
}

template <typename T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

__device__ __forceinline__ uint32_t warp_ballot(bool yes) {
  return __ballot_sync(0xffffffffu, yes ? 1 : 0);
}
__device__ __forceinline__ int count_bits(uint32_t bits) { return __popc(bits); }

// 16 bytes that are read once: past the first-level cache.
__device__ __forceinline__ uint4 load_stream(const void* address) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(address));
  return v;
}

__device__ __forceinline__ uint4 load_cached(const void* address) {
  return *static_cast<const uint4*>(address);
}

__device__ __forceinline__ void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t pack_bf16(float a, float b) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(b), "f"(a));
  return out;
}

__device__ __forceinline__ uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t out;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
  return out;
}

__device__ __forceinline__ float add_scaled(float a, float s, float b) {
  return __fadd_rn(a, __fmul_rn(s, b));
}

void check_last_launch(const char* kernel);  // runtime.cc
void allow_shared_bytes(const void* kernel, size_t bytes, const char* name);

template <typename Params>
void launch(void (*kernel)(Params), const char* name, const LaunchShape& shape,
            const Launcher& launcher, const Params& params) {
  check_launch(shape, name);
  if (shape.empty()) return;
  if (shape.shared_bytes > kPlainSharedBytes) {
    allow_shared_bytes(reinterpret_cast<const void*>(kernel), shape.shared_bytes, name);
  }
  const dim3 grid(static_cast<unsigned>(shape.grid_x), static_cast<unsigned>(shape.grid_y),
                  static_cast<unsigned>(shape.grid_z));
  void* arguments[] = {const_cast<Params*>(&params)};
  (void)cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid,
                         dim3(static_cast<unsigned>(shape.block)), arguments, shape.shared_bytes,
                         static_cast<cudaStream_t>(launcher.stream));
  check_last_launch(name);
}

#endif

// Sums and maxima over a warp: every lane gets the result, in one order of additions.
__device__ __forceinline__ float warp_sum(float value) {
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
__device__ __forceinline__ float warp_max(float value) {
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    value = fmaxf(value, shuffle_xor(value, mask));
  }
  return value;
}

// Over the block; `scratch` is 32 floats of shared memory that nothing else uses meanwhile.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  block_sync();
  if (lane == 0) scratch[threadIdx.x / kWarpSize] = value;
  block_sync();
  float sum = 0;
  for (int i = 0; i < n_warps; ++i) sum += scratch[i];
  return sum;
}
__device__ __forceinline__ float block_max(float value, float* scratch) {
  value = warp_max(value);
  const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  block_sync();
  if (lane == 0) scratch[threadIdx.x / kWarpSize] = value;
  block_sync();
  float max = scratch[0];
  for (int i = 1; i < n_warps; ++i) max = fmaxf(max, scratch[i]);
  return max;
}

}  // namespace trireme::kernels::cuda
