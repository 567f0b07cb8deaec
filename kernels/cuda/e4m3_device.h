// Codes of e4m3 as bf16, exactly, four or eight at a time.
#pragma once

#include "kernels/cuda/device.h"

namespace trireme::kernels::cuda {

// Bytes 2 i and 2 i + 1 of a word as the halves of another: a code's sign and magnitude in their
// places of a bf16 make 2^-120 of its value.
__device__ __forceinline__ uint32_t two_small_e4m3(uint32_t word, int i) {
  const uint32_t codes = i == 0 ? (word & 0xffu) << 8 | (word & 0xff00u) << 16
                                : (word >> 8 & 0xff00u) | (word & 0xff000000u);
  return (codes & 0x80008000u) | (codes >> 4 & 0x07f007f0u);
}

// Eight codes in the order of their bytes.
__device__ __forceinline__ uint4 expand_e4m3(uint32_t low, uint32_t high) {
  constexpr uint32_t kScale = 0x7b807b80u;    // 2^120
  constexpr uint32_t kNothing = 0x80008000u;  // -0, which keeps the sign of a zero
  return {fma_bf16x2(two_small_e4m3(low, 0), kScale, kNothing),
          fma_bf16x2(two_small_e4m3(low, 1), kScale, kNothing),
          fma_bf16x2(two_small_e4m3(high, 0), kScale, kNothing),
          fma_bf16x2(two_small_e4m3(high, 1), kScale, kNothing)};
}

}  // namespace trireme::kernels::cuda
