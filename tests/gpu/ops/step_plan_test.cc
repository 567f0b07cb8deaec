// Index arithmetic of the fused ops and of candidates. On the CPU alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "kernels/counter_random.h"
#include "kernels/cuda/candidates.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/head_gemm.h"
#include "kernels/cuda/head_roles.h"

namespace trireme::kernels::cuda {
namespace {

TEST(CandidateKeys, OrderByScoreThenByTheLowerColumn) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> falling = {kInfinity, 3e38f, 7.5f, 1e-40f, 0.0f, -1e-40f, -2, -3e38f};
  for (size_t i = 0; i < falling.size(); ++i) {
    const uint64_t key = candidate_key(std::bit_cast<uint32_t>(falling[i]), 9);
    EXPECT_GT(key, 0u) << "no candidate is none";
    EXPECT_EQ(std::bit_cast<float>(score_bits_of(key)), falling[i]);
    EXPECT_EQ(column_of(key), 9);
    EXPECT_GT(candidate_key(std::bit_cast<uint32_t>(falling[i]), 8), key);
    if (i > 0) {
      EXPECT_LT(key, candidate_key(std::bit_cast<uint32_t>(falling[i - 1]), (1 << 24) - 1));
    }
  }
  EXPECT_EQ(candidate_key(std::bit_cast<uint32_t>(-0.0f), 5),
            candidate_key(std::bit_cast<uint32_t>(0.0f), 5));
}

TEST(SortPairs, SortAnythingIntoFallingOrder) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<uint64_t> keys(kSortWidth);
    for (uint64_t& key : keys) key = round % 2 == 0 ? random() : random() % 7;
    std::vector<uint64_t> sorted = keys;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (int run = 2; run <= kSortWidth; run *= 2) {
      for (int stride = run / 2; stride > 0; stride /= 2) {
        std::vector<int> touched(kSortWidth);
        for (int t = 0; t < kSortWidth / 2; ++t) {
          const SortPair pair = sort_pair(t, run, stride);
          ++touched[static_cast<size_t>(pair.low)];
          ++touched[static_cast<size_t>(pair.high)];
          uint64_t& low = keys[static_cast<size_t>(pair.low)];
          uint64_t& high = keys[static_cast<size_t>(pair.high)];
          if ((low < high) == pair.falling) std::swap(low, high);
        }
        ASSERT_TRUE(std::all_of(touched.begin(), touched.end(), [](int n) { return n == 1; }))
            << "threads of a step never meet";
      }
    }
    ASSERT_EQ(keys, sorted);
  }
}

TEST(CandidatePlan, EveryPassLeavesLessAndFitsTheWorkspace) {
  for (const int64_t width : {1, 1024, 1025, 50257, 128256, 262144}) {
    for (const int64_t k : {1, 8, 128, 512}) {
      constexpr int64_t kKeys = (int64_t{64} << 20) / 8;
      const CandidatePlan plan = plan_candidates(width, k, kKeys);
      EXPECT_GE(plan.n_first_chunks * kSortWidth, width);
      EXPECT_GT(plan.rows_at_once, 0);
      EXPECT_LE(plan.rows_at_once * plan.n_first_chunks * k, kKeys / 2);
      int64_t n = plan.n_first_chunks;
      for (int i = 0; i < plan.n_merges; ++i) {
        const int64_t next = ceil_div<int64_t>(n * k, kSortWidth);
        EXPECT_LT(next, n) << width << " " << k;
        n = next;
      }
      EXPECT_EQ(n, 1);
    }
  }
}

TEST(HeadRoles, EveryHeadOfQKAndVOnce) {
  std::set<std::tuple<int, int64_t>> seen;
  for (int64_t i = 0; i < 8 + 2 * 3; ++i) {
    const HeadRole role = head_role(i, 8, 3);
    EXPECT_LT(role.head, role.part == 0 ? 8 : 3);
    seen.insert({role.part, role.head});
  }
  EXPECT_EQ(seen.size(), 14u);
  const LaunchShape shape = norm_rope_append_shape(5, 8, 3, 128);
  EXPECT_EQ(shape.grid_x, 18);  // 70 heads, 4 to a block
  EXPECT_EQ(shape.shared_bytes, 4u * 128 * 4);
  check_launch(norm_rope_append_shape(1 << 20, 128, 8, 576), "norm_rope_append");
  EXPECT_TRUE(norm_rope_append_shape(0, 8, 3, 128).empty());
}

TEST(HeadGemm, CoversOutputsRowsAndHeads) {
  HeadGemmOperands operands;
  operands.n_heads = 16;
  operands.x_head_stride = 128;
  operands.head.out_features = 512;
  operands.head.n_rows = 33;
  operands.head.x_width = 128;
  operands.head.x_stride = 16 * 128;
  operands.head.pitch = 128;
  const LaunchShape shape = head_gemm_shape(operands);
  EXPECT_EQ(shape.grid_x, 8);
  EXPECT_EQ(shape.grid_y, 2);
  EXPECT_EQ(shape.grid_z, 16);
  check_launch(shape, "head_gemm");
  EXPECT_TRUE(head_gemm_takes(operands));
  operands.head.n_rows = int64_t{32} * (kMaxGridYZ + 1);
  EXPECT_FALSE(head_gemm_takes(operands)) << "more rows than a grid has";
  check_launch(plain_head_gemm_shape(operands), "plain_head_gemm");
  operands.head.n_rows = 1;
  operands.x_head_stride = 100;
  EXPECT_FALSE(head_gemm_takes(operands)) << "pieces of 16 bytes";
}

TEST(SmallGemmPlan, InOneOrderTheRowsDoNotChangeTheCutOfTheSum) {
  const GemmWorkspace workspace{.partials = nullptr,
                                .n_partials = int64_t{16} << 20,
                                .counters = nullptr,
                                .n_counters = 1 << 16,
                                .one_order = true};
  for (const int64_t outs : {16, 512, 4096, 128256}) {
    for (const int64_t pitch : {64, 4096, 16384}) {
      GemmOperands operands;
      operands.out_features = outs;
      operands.pitch = pitch;
      operands.n_rows = 1;
      const SmallGemmPlan one = plan_small_gemm(operands, 132, workspace);
      const int64_t at_once = small_gemm_rows_at_once(operands, 132, workspace);
      EXPECT_GE(at_once, kMaxSmallRows);
      for (const int64_t rows : {7, 16, 17, 300}) {
        operands.n_rows = std::min(rows, at_once);
        const SmallGemmPlan many = plan_small_gemm(operands, 132, workspace);
        EXPECT_EQ(many.n_splits, one.n_splits) << outs << " by " << pitch << ", " << rows;
        EXPECT_EQ(many.n_warps, one.n_warps);
      }
      // A full call's partial sums and counters fit.
      operands.n_rows = at_once;
      const SmallGemmPlan full = plan_small_gemm(operands, 132, workspace);
      EXPECT_LE(full.n_slots, kMaxGridYZ);
      if (full.n_splits == 1) continue;
      const int64_t n_blocks = full.n_out_tiles * full.n_slots;
      EXPECT_LE(n_blocks, workspace.n_counters);
      EXPECT_LE(n_blocks * full.n_splits * 16 * full.rows_per_tile, workspace.n_partials);
    }
  }
}

TEST(GumbelNoise, InF32IsNearTheNoiseInF64) {
  std::mt19937_64 random(2);
  const auto near = [](uint64_t hash) {
    const double exact = gumbel_noise(uniform_open(hash));
    if (std::isfinite(exact)) {
      EXPECT_NEAR(gumbel_noise_f32(hash), exact, 1e-5) << hash;
    } else {
      EXPECT_EQ(gumbel_noise_f32(hash), exact) << "the very last uniform";
    }
  };
  for (int i = 0; i < 200000; ++i) near(random());
  for (int bit = 0; bit < 64; ++bit) {
    near(uint64_t{1} << bit);
    near(~(uint64_t{1} << bit));
    near((uint64_t{1} << bit) - 1);
    near(~((uint64_t{1} << bit) - 1));
  }
  near(0);
  near(~uint64_t{0});
}

}  // namespace
}  // namespace trireme::kernels::cuda
