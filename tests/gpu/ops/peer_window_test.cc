// The arithmetic of sums over peers' memory: windows, stretches, launches. On the CPU alone.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "kernels/cuda/peer_sum.h"

namespace trireme::kernels::cuda {
namespace {

TEST(PeerWindow, NothingOverlapsAndAllOfItIsUsed) {
  for (const int n_ranks : {1, 2, 5, 8}) {
    const PeerWindow window{.max_bytes = 48, .n_ranks = n_ranks};
    std::vector<int> used(static_cast<size_t>(peer_window_bytes(window)), 0);
    for (int rank = 0; rank < kMaxPeers; ++rank) {
      for (int block = 0; block < kMaxPeerBlocks; ++block) {
        for (int i = 0; i < 4; ++i) {
          ++used.at(static_cast<size_t>(4 * peer_flag_index(rank, block) + i));
        }
      }
    }
    for (unsigned turn = 0; turn < 2; ++turn) {
      for (int rank = 0; rank < n_ranks; ++rank) {
        const int64_t begin = peer_inbox_offset(window, 6 + turn, rank);
        EXPECT_EQ(begin % 16, 0);
        for (int64_t i = 0; i < window.max_bytes; ++i) ++used.at(static_cast<size_t>(begin + i));
      }
    }
    for (const int n : used) ASSERT_EQ(n, 1);
  }
}

TEST(PeerWindow, NumbersOfCallsGoRound) {
  EXPECT_TRUE(peer_has_come(5, 5));
  EXPECT_TRUE(peer_has_come(6, 5));
  EXPECT_FALSE(peer_has_come(4, 5));
  EXPECT_TRUE(peer_has_come(0, 0xffffffffu));
  EXPECT_TRUE(peer_has_come(1, 0xffffffffu));
  EXPECT_FALSE(peer_has_come(0xffffffffu, 0));
  EXPECT_FALSE(peer_has_come(0xfffffffeu, 1));
}

TEST(PeerStretch, StretchesAreTheRow) {
  for (const int64_t width : {1, 3, 4, 5, 64, 4095, 4096, 4097, 16384}) {
    for (const int64_t n : {1, 2, 3, 8, 16}) {
      int64_t at = 0;
      for (int64_t i = 0; i < n; ++i) {
        const PeerStretch stretch = peer_stretch(width, n, i);
        ASSERT_EQ(stretch.begin, at);
        ASSERT_LE(stretch.begin, stretch.end);
        if (stretch.end < width) {
          ASSERT_EQ(stretch.end % 4, 0);
        }
        at = stretch.end;
      }
      ASSERT_EQ(at, width) << n;
    }
  }
}

TEST(PeerSumShape, FitsTheFlagsAndIsTheSameWhateverTheAddresses) {
  for (const int64_t width : {1, 130, 2048, 2052, 8192, 16384}) {
    for (const int64_t n_rows : {1, 2, 3, 16, 64, 65, 1000}) {
      for (const int max_blocks : {1, 16, 64, 1000}) {
        const LaunchShape with = peer_sum_shape(n_rows, width, true, max_blocks);
        const LaunchShape without = peer_sum_shape(n_rows, width, false, max_blocks);
        ASSERT_EQ(with.grid_x, without.grid_x);
        ASSERT_EQ(with.grid_y, without.grid_y);
        ASSERT_LE(with.grid_x * with.grid_y, std::min(max_blocks, kMaxPeerBlocks));
        ASSERT_GE(with.grid_x, 1);
        ASSERT_GE(with.grid_y, 1);
        ASSERT_LE(with.grid_y, n_rows);
        check_launch(with, "peer_sum");
        check_launch(without, "peer_sum");
      }
    }
  }
  // A decode step's rows use many blocks, and a row is not cut finer than its threads.
  EXPECT_EQ(peer_sum_shape(1, 16384, true, 64).grid_x, 8);
  EXPECT_EQ(peer_sum_shape(8, 16384, true, 64).grid_x, 8);
  EXPECT_EQ(peer_sum_shape(64, 16384, true, 64).grid_y, 64);
  EXPECT_TRUE(peer_sum_shape(0, 16384, true, 64).empty());
}

PeerSumParams good(std::vector<unsigned char>& memory) {
  PeerSumParams p;
  p.window = {.max_bytes = 1024, .n_ranks = 2};
  p.windows[0] = p.windows[1] = memory.data();
  p.patience_ns = 1;
  p.n_rows = 2;
  p.width = 128;
  return p;
}

TEST(PeerSumCheckDeathTest, StopsWhatAKernelCouldNotDo) {
  std::vector<unsigned char> memory(16);
  const LaunchShape shape = peer_sum_shape(2, 128, true, 64);
  check_peer_sum(good(memory), shape);
  PeerSumParams p = good(memory);
  p.n_rows = 3;
  EXPECT_DEATH(check_peer_sum(p, shape), "an inbox is too small");
  p = good(memory);
  p.windows[1] = nullptr;
  EXPECT_DEATH(check_peer_sum(p, shape), "rank 1");
  p = good(memory);
  p.rank = 2;
  EXPECT_DEATH(check_peer_sum(p, shape), "n_ranks");
  p = good(memory);
  EXPECT_DEATH(check_peer_sum(p, {.grid_x = 8, .grid_y = 9, .block = 32}), "kMaxPeerBlocks");
}

}  // namespace
}  // namespace trireme::kernels::cuda
