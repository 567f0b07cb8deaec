// Products of a warpgroup on Hopper's tensor cores (wgmma, sm_90a), and the copies into shared
// memory that feed them.
//
// Only what kernels here use: A from registers, B from shared memory in rows of 128 bytes with the
// 128-byte swizzle, sums in f32. Elsewhere than on sm_90a and on the emulator TRIREME_HAS_WGMMA is
// 0, and a kernel's body is left out. Included by .cu files alone.
//
// The facts, from the PTX ISA, chapter "Asynchronous warpgroup level matrix instructions":
//  - A warpgroup is four neighbouring warps, the first of which has a number divisible by four.
//    Each issues the instruction; it multiplies A [64, 16] by B [16, n].
//    ("Matrix fragments for wgmma.mma_async.m64nNk16")
//      A: warp w has rows 16 w to 16 w + 15. Word r of a lane is row lane / 4 + 8 (r % 2), and its
//      halves are columns lane % 4 * 2 + 8 (r / 2) and the next.
//      D: element d[j][i] of a lane is row lane / 4 + 8 (i / 2), column 8 j + lane % 4 * 2 + i % 2.
//  - The descriptor of B: bits 0-13 the start address, 16-29 the leading and 32-45 the stride
//    dimension's byte offset, each without its low four bits; 49-51 the base offset, 0 where the
//    swizzle's pattern starts at a multiple of 1024 bytes; 62-63 the swizzle, 1 for 128 bytes.
//    ("Matrix descriptor format")
//  - The 128-byte swizzle lays out eight rows of 128 bytes; bits 4-6 of the address are exchanged
//    for their exclusive or with bits 7-9. A start address inside the first row of a pattern, such
//    as that of a further step along a K-major row, keeps to the same pattern.
//    ("Shared memory matrix layout")
//  - K-major B (not transposed): a row is one n, its elements are k. The stride offset leads from
//    eight rows to the next eight; the leading offset is not used.
//    MN-major B (transposed): a row is one k, its elements are 64 n. The stride offset leads from
//    eight rows to the next eight, the leading offset from 64 n to the next 64. ("Strides")
//  - Products read shared memory through the async proxy: whoever wrote it, cp.async included,
//    passes fence.proxy.async before the barrier behind which products read it. The end of a
//    product orders its reads before later writes. ("Async proxy")
//  - Products go on while the warps do: sums, and words of A, are left alone from the product until
//    wgmma.wait_group; wgmma.fence stands between what a thread did to those registers and the
//    products, but not between products on the same sums. ("wgmma.fence", "wgmma.wait_group")
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/device.h"

#if defined(TRIREME_CUDA_EMULATED)
#include "kernels/cuda/emulated/warpgroup.h"
#define TRIREME_HAS_WGMMA 1
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TRIREME_HAS_WGMMA 1
#else
#define TRIREME_HAS_WGMMA 0
#endif

namespace trireme::kernels::cuda {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWarpgroupRows = 64;  // of A
inline constexpr int kSwizzleRowBytes = 128;
inline constexpr int kSwizzlePatternBytes = 1024;

// Where a byte of a tile lies whose rows of 128 bytes begin at a multiple of the pattern.
TRIREME_HD constexpr uint32_t swizzle_128(uint32_t offset) {
  return offset ^ (((offset / kSwizzleRowBytes) % 8) * 16);
}

// Addresses and offsets are multiples of 16 below 2^18.
TRIREME_HD constexpr uint64_t matrix_descriptor(uint32_t start, uint32_t leading, uint32_t stride) {
  const auto field = [](uint32_t bytes) { return uint64_t{(bytes & 0x3ffff) >> 4}; };
  return field(start) | field(leading) << 16 | field(stride) << 32 | uint64_t{1} << 62;
}

#if defined(TRIREME_CUDA_EMULATED)

inline uint32_t shared_address(const void* shared) { return emulator::shared_address(shared); }

// 16 bytes to shared memory, or 16 zeros. Both addresses are multiples of 16.
inline void copy_async(uint32_t to, const void* from, bool zeros) {
  emulator::copy_async(to, from, zeros);
}
inline void copy_async_commit() { emulator::copy_async_commit(); }
// Until at most kPending of the thread's latest groups are under way.
template <int kPending>
void copy_async_wait() {
  emulator::copy_async_wait(kPending);
}
inline void proxy_fence() { emulator::proxy_fence(); }

inline void wgmma_fence() { emulator::wgmma_fence(); }
inline void wgmma_commit() { emulator::wgmma_commit(); }
template <int kPending>
void wgmma_wait() {
  emulator::wgmma_wait(kPending);
}
template <typename T, bool kTransposed, int kN>
void wgmma(float (&d)[kN / 8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
  emulator::wgmma({.d = &d[0][0],
                   .n = kN,
                   .a = a,
                   .b = b,
                   .transposed = kTransposed,
                   .add = add,
                   .to_f32 = [](uint16_t bits) { return to_f32(T{bits}); }});
}
// Keeps the compiler from moving what touches the registers across this point.
template <int kCount>
void pin(float (&)[kCount][4]) {}
template <int kCount>
void pin(uint32_t (&)[kCount][4]) {}

inline float exp2_approx(float value) { return std::exp2(value); }
template <typename T>
uint32_t pack_pair(float a, float b) {
  return uint32_t{device_from_f32<T>(a).bits} | uint32_t{device_from_f32<T>(b).bits} << 16;
}

#else

__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool zeros) {
  const int bytes = zeros ? 0 : 16;  // that are read; zeros fill up
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
__device__ __forceinline__ void proxy_fence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount][4]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
  }
}
template <int kCount>
__device__ __forceinline__ void pin(uint32_t (&a)[kCount][4]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    asm volatile("" : "+r"(a[j][0]), "+r"(a[j][1]), "+r"(a[j][2]), "+r"(a[j][3])::"memory");
  }
}

// Operands of the two shapes: the sums, the four words of A, B's descriptor, whether sums are added
// to, whether B is transposed.
#define TRIREME_SUMS(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define TRIREME_SUMS_64                                                                \
  TRIREME_SUMS(0), TRIREME_SUMS(1), TRIREME_SUMS(2), TRIREME_SUMS(3), TRIREME_SUMS(4), \
      TRIREME_SUMS(5), TRIREME_SUMS(6), TRIREME_SUMS(7)
#define TRIREME_SUMS_128                                                                 \
  TRIREME_SUMS_64, TRIREME_SUMS(8), TRIREME_SUMS(9), TRIREME_SUMS(10), TRIREME_SUMS(11), \
      TRIREME_SUMS(12), TRIREME_SUMS(13), TRIREME_SUMS(14), TRIREME_SUMS(15)
#define TRIREME_FACTORS                                                           \
  "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)), \
      "n"(kTransposed ? 1 : 0)
#define TRIREME_WGMMA_64(types)                                                     \
  asm volatile(                                                                     \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"                              \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." types                           \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, " \
      "%31}, {%32, %33, %34, %35}, %36, add, 1, 1, %38;\n}\n"                       \
      : TRIREME_SUMS_64                                                             \
      : TRIREME_FACTORS)
#define TRIREME_WGMMA_128(types)                                                    \
  asm volatile(                                                                     \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"                              \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." types                          \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, " \
      "%31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
      "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
      "%61, %62, %63}, {%64, %65, %66, %67}, %68, add, 1, 1, %70;\n}\n"             \
      : TRIREME_SUMS_128                                                            \
      : TRIREME_FACTORS)

// d = a b, or d += a b. Done after a wait.
template <typename T, bool kTransposed, int kN>
__device__ __forceinline__ void wgmma(float (&d)[kN / 8][4], const uint32_t (&a)[4], uint64_t b,
                                      bool add) {
  static_assert(kN == 64 || kN == 128);
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);
  if constexpr (kN == 64 && std::is_same_v<T, bf16>) {
    TRIREME_WGMMA_64("bf16.bf16");
  } else if constexpr (kN == 64) {
    TRIREME_WGMMA_64("f16.f16");
  } else if constexpr (std::is_same_v<T, bf16>) {
    TRIREME_WGMMA_128("bf16.bf16");
  } else {
    TRIREME_WGMMA_128("f16.f16");
  }
}

#undef TRIREME_WGMMA_128
#undef TRIREME_WGMMA_64
#undef TRIREME_FACTORS
#undef TRIREME_SUMS_128
#undef TRIREME_SUMS_64
#undef TRIREME_SUMS

// 2^value, within two units of the last place.
__device__ __forceinline__ float exp2_approx(float value) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(value));
  return out;
}

// {a, b} in one word, a in the low half.
template <typename T>
__device__ __forceinline__ uint32_t pack_pair(float a, float b) {
  if constexpr (std::is_same_v<T, bf16>) {
    return pack_bf16(a, b);
  } else {
    uint32_t out;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(b), "f"(a));
    return out;
  }
}

#endif

}  // namespace trireme::kernels::cuda
