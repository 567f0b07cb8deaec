// The emulator's warpgroups, against the documentation and not against a kernel: where a product
// finds its operands, and what stops it. On the CPU alone.
#include "kernels/cuda/emulated/warpgroup.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/emulated/emulator.h"
#include "kernels/dtype.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kThreads = 128;

float bf16_value(uint16_t bits) { return to_f32(bf16{bits}); }
uint16_t bits_of(float value) { return to_bf16(value).bits; }

struct Layout {
  bool transposed = false;
  uint32_t leading = 0;
  uint32_t stride = 0;
  uint32_t skip = 0;  // of the start address, inside a row
};

// What a kernel could leave out.
struct Steps {
  bool wait_for_copies = true;
  bool proxy_fence = true;
  bool barrier = true;
  bool wgmma_fence = true;
  bool keep_a = true;
  bool keep_d = true;
  bool wait = true;
};

// Small whole numbers, so that every sum is exact.
struct Operands {
  explicit Operands(int n) : a(64 * 16), b(static_cast<size_t>(16 * n)) {
    std::mt19937 random(static_cast<uint32_t>(n));
    for (float& value : a) value = static_cast<float>(random() % 9) - 4;
    for (float& value : b) value = static_cast<float>(random() % 9) - 4;
  }
  std::vector<float> a;  // [64, 16]
  std::vector<float> b;  // [16, n]
};

// Byte of B's element in a tile of rows of 128 bytes, eight rows to a pattern, written down by hand
// from the figures of the layouts.
uint32_t figure(const Layout& layout, int k, int n) {
  const auto row = static_cast<uint32_t>(layout.transposed ? k : n);
  const auto column = static_cast<uint32_t>(layout.transposed ? n % 64 : k) * 2 + layout.skip;
  const uint32_t pattern = row / 8 * layout.stride +
                           (layout.transposed ? static_cast<uint32_t>(n) / 64 * layout.leading : 0);
  const uint32_t piece = column / 16 ^ row % 8;  // of the eight 16-byte pieces of a row
  return pattern + row % 8 * 128 + piece * 16 + column % 16;
}

// sums[t] = thread t's sums after d = a b, then d += a b.
std::vector<std::vector<float>> multiply(const Operands& operands, int n, const Layout& layout,
                                         const Steps& steps = {}) {
  constexpr size_t kBytes = 32768;
  // 16-byte pieces from global memory, as a copy wants them.
  alignas(16) static unsigned char tile[kBytes];
  std::memset(tile, 0, sizeof(tile));
  for (int k = 0; k < 16; ++k) {
    for (int column = 0; column < n; ++column) {
      const uint16_t bits = bits_of(operands.b[static_cast<size_t>(k * n + column)]);
      std::memcpy(tile + figure(layout, k, column), &bits, 2);
    }
  }
  std::vector<std::vector<float>> sums(kThreads, std::vector<float>(static_cast<size_t>(n / 2), 7));
  emulator::run_grid({.grid_x = 1, .block = kThreads, .shared_bytes = kBytes + 1024}, [&] {
    const unsigned t = threadIdx.x;
    const uint32_t base =
        round_up<uint32_t>(emulator::shared_address(emulator::dynamic_shared()), 1024);
    for (uint32_t at = t * 16; at < kBytes; at += kThreads * 16) {
      emulator::copy_async(base + at, tile + at, false);
    }
    emulator::copy_async_commit();
    if (steps.wait_for_copies) emulator::copy_async_wait(0);
    if (steps.proxy_fence) emulator::proxy_fence();
    if (steps.barrier) emulator::block_barrier();
    uint32_t a[4];
    for (int r = 0; r < 4; ++r) {
      const auto row = static_cast<int>(t / 32 * 16 + t % 32 / 4) + r % 2 * 8;
      const auto k = static_cast<int>(t % 4 * 2) + r / 2 * 8;
      const size_t at = static_cast<size_t>(row * 16 + k);
      a[r] = uint32_t{bits_of(operands.a[at])} | uint32_t{bits_of(operands.a[at + 1])} << 16;
    }
    const uint64_t descriptor = (base + layout.skip) >> 4 | uint64_t{layout.leading >> 4} << 16 |
                                uint64_t{layout.stride >> 4} << 32 | uint64_t{1} << 62;
    emulator::WarpgroupProduct product{.d = sums[t].data(),
                                       .n = n,
                                       .a = a,
                                       .b = descriptor,
                                       .transposed = layout.transposed,
                                       .to_f32 = bf16_value};
    if (steps.wgmma_fence) emulator::wgmma_fence();
    emulator::wgmma(product);
    product.add = true;
    emulator::wgmma(product);
    emulator::wgmma_commit();
    if (!steps.keep_a) a[0] += 1;
    if (!steps.keep_d) sums[t][0] = 0;
    if (steps.wait) emulator::wgmma_wait(0);
  });
  return sums;
}

void expect_product(int n, const Layout& layout) {
  const Operands operands(n);
  const auto sums = multiply(operands, n, layout);
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < n / 2; ++i) {
      const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8;
      const int column = i / 4 * 8 + t % 4 * 2 + i % 2;
      float expected = 0;
      for (int k = 0; k < 16; ++k) {
        expected += operands.a[static_cast<size_t>(row * 16 + k)] *
                    operands.b[static_cast<size_t>(k * n + column)];
      }
      ASSERT_EQ(sums[static_cast<size_t>(t)][static_cast<size_t>(i)], 2 * expected)
          << "thread " << t << " sum " << i;
    }
  }
}

TEST(Warpgroup, KMajorRows) {
  expect_product(64, {.leading = 16, .stride = 1024});
  expect_product(128, {.leading = 16, .stride = 1024});
  // A later step along the rows; other patterns between.
  expect_product(128, {.leading = 16, .stride = 1024, .skip = 96});
  expect_product(32, {.leading = 16, .stride = 4096, .skip = 32});
}

TEST(Warpgroup, TransposedRows) {
  expect_product(64, {.transposed = true, .leading = 16, .stride = 1024});
  expect_product(128, {.transposed = true, .leading = 16384, .stride = 1024});
  expect_product(128, {.transposed = true, .leading = 1024, .stride = 8192});
}

void without(const Steps& steps) {
  (void)multiply(Operands(64), 64, {.leading = 16, .stride = 1024}, steps);
}

TEST(WarpgroupDeathTest, WhatIsLeftOutStopsIt) {
  EXPECT_DEATH(without({.wait_for_copies = false}), "reads what a copy writes");
  EXPECT_DEATH(without({.proxy_fence = false}), "no proxy fence");
  EXPECT_DEATH(without({.barrier = false}), "no barrier between");
  EXPECT_DEATH(without({.wgmma_fence = false}), "no wgmma.fence");
  EXPECT_DEATH(without({.keep_a = false}), "words of A change");
  EXPECT_DEATH(without({.keep_d = false}), "sums change");
  EXPECT_DEATH(without({.wait = false}), "left under way");
}

TEST(WarpgroupDeathTest, CopiesKeepOutOfTheWayOfProducts) {
  alignas(16) static unsigned char zeros[16] = {};
  const auto kernel = [&](bool wait) {
    emulator::run_grid({.grid_x = 1, .block = kThreads, .shared_bytes = 16384}, [&] {
      const uint32_t base =
          round_up<uint32_t>(emulator::shared_address(emulator::dynamic_shared()), 1024);
      for (uint32_t at = threadIdx.x * 16; at < 8192; at += kThreads * 16) {
        emulator::copy_async(base + at, zeros, true);
      }
      emulator::copy_async_commit();
      emulator::copy_async_wait(0);
      emulator::proxy_fence();
      emulator::block_barrier();
      float d[32];
      const uint32_t a[4] = {};
      emulator::wgmma_fence();
      emulator::wgmma({.d = d,
                       .n = 64,
                       .a = a,
                       .b = base >> 4 | uint64_t{64} << 32 | uint64_t{1} << 62,
                       .to_f32 = bf16_value});
      emulator::wgmma_commit();
      if (wait) emulator::wgmma_wait(0);
      if (threadIdx.x == 0) emulator::copy_async(base, zeros, false);
      emulator::copy_async_commit();
      emulator::wgmma_wait(0);
      emulator::copy_async_wait(0);
      EXPECT_EQ(d[5], 0);
    });
  };
  kernel(true);
  EXPECT_DEATH(kernel(false), "into what a product reads");
}

}  // namespace
}  // namespace trireme::kernels::cuda
