// LaunchShape: how many threads a kernel is started with, and the check that a device will take it.
//
// Plain arithmetic, compiled and tested without CUDA. Each kernel's host function makes a shape
// from its operands; `launch` (device.h) starts it. An empty grid is no work, and no launch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"

// Marks index arithmetic that kernels and host tests share.
#if defined(__CUDACC__)
#define TRIREME_HD __host__ __device__
#else
#define TRIREME_HD
#endif

namespace trireme::kernels::cuda {

inline constexpr int kWarpSize = 32;
// Limits of every architecture from sm_80 on.
inline constexpr int64_t kMaxGridX = 2147483647;
inline constexpr int64_t kMaxGridYZ = 65535;
inline constexpr int kMaxBlockThreads = 1024;
// What a block may have without asking, and at most with asking (sm_80: 163 KiB, sm_90: 227 KiB).
inline constexpr size_t kPlainSharedBytes = 48 * 1024;
inline constexpr size_t kMaxSharedBytes = 160 * 1024;

struct LaunchShape {
  int64_t grid_x = 0;
  int64_t grid_y = 1;
  int64_t grid_z = 1;
  int block = 0;  // threads, a multiple of a warp
  size_t shared_bytes = 0;

  bool empty() const { return grid_x == 0 || grid_y == 0 || grid_z == 0; }
};

inline void check_launch(const LaunchShape& shape, const char* kernel) {
  CHECK_GE(shape.grid_x, 0) << kernel;
  CHECK_LE(shape.grid_x, kMaxGridX) << kernel;
  CHECK_GE(shape.grid_y, 0) << kernel;
  CHECK_LE(shape.grid_y, kMaxGridYZ) << kernel;
  CHECK_GE(shape.grid_z, 0) << kernel;
  CHECK_LE(shape.grid_z, kMaxGridYZ) << kernel;
  CHECK_GT(shape.block, 0) << kernel;
  CHECK_LE(shape.block, kMaxBlockThreads) << kernel;
  CHECK_EQ(shape.block % kWarpSize, 0) << kernel;
  CHECK_LE(shape.shared_bytes, kMaxSharedBytes) << kernel;
}

template <typename Int>
TRIREME_HD constexpr Int ceil_div(Int n, Int d) {
  return (n + d - 1) / d;
}

template <typename Int>
TRIREME_HD constexpr Int round_up(Int n, Int multiple) {
  return ceil_div(n, multiple) * multiple;
}

// Threads for a row of `n` elements: whole warps, at most `most`.
constexpr int threads_for(int64_t n, int most) {
  const int64_t wanted = round_up<int64_t>(n < 1 ? 1 : n, kWarpSize);
  return static_cast<int>(wanted < most ? wanted : most);
}

}  // namespace trireme::kernels::cuda
