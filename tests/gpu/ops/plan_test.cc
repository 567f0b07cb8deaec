// The host's arithmetic of launches: tiles of ragged rows, splits, shapes. On the CPU alone.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/low_bit.h"
#include "kernels/cuda/row_tiles.h"

namespace trireme::kernels::cuda {
namespace {

TEST(RowTiles, CoverEveryRowOnceInItsRun) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const int64_t tile = std::vector<int64_t>{1, 3, 8, 16, 64}[random() % 5];
    std::vector<int32_t> start{0};
    const size_t n_runs = 1 + random() % 9;
    for (size_t r = 0; r < n_runs; ++r) {
      start.push_back(start.back() + static_cast<int32_t>(random() % 3 == 0 ? 0 : random() % 70));
    }
    // The host may know a bound alone.
    const int64_t n_rows = start.back() + static_cast<int64_t>(random() % 20);
    std::vector<int> seen(static_cast<size_t>(start.back()), 0);
    for (int64_t slot = 0; slot < n_tile_slots(n_rows, static_cast<int64_t>(n_runs), tile);
         ++slot) {
      const RowTile t = row_tile(start.data(), n_rows, static_cast<int64_t>(n_runs), tile, slot);
      ASSERT_LE(t.n, tile);
      for (int64_t i = t.first; i < t.first + t.n; ++i) {
        ASSERT_GE(i, start[static_cast<size_t>(t.run)]);
        ASSERT_LT(i, start[static_cast<size_t>(t.run) + 1]);
        ++seen[static_cast<size_t>(i)];
      }
    }
    for (const int count : seen) ASSERT_EQ(count, 1);
    for (int64_t row = 0; row < start.back(); ++row) {
      const int64_t run = run_of_row(start.data(), static_cast<int64_t>(n_runs), row);
      ASSERT_LE(start[static_cast<size_t>(run)], row);
      ASSERT_GT(start[static_cast<size_t>(run) + 1], row);
    }
  }
}

TEST(RowTiles, WithoutRunsTheRowsAreOne) {
  EXPECT_EQ(n_tile_slots(17, 0, 8), 3);
  const RowTile last = row_tile(nullptr, 17, 0, 8, 2);
  EXPECT_EQ(last.first, 16);
  EXPECT_EQ(last.n, 1);
}

TEST(LaunchShape, ThreadsAreWholeWarps) {
  EXPECT_EQ(threads_for(0, 256), 32);
  EXPECT_EQ(threads_for(33, 256), 64);
  EXPECT_EQ(threads_for(1000, 256), 256);
}

TEST(LaunchShapeDeathTest, RefusesWhatNoDeviceTakes) {
  EXPECT_DEATH(check_launch({.grid_x = 1, .block = 33}, "k"), "k");
  EXPECT_DEATH(check_launch({.grid_x = 1, .grid_y = 65536, .block = 32}, "k"), "k");
  EXPECT_DEATH(check_launch({.grid_x = 1, .block = 32, .shared_bytes = kMaxSharedBytes + 1}, "k"),
               "k");
}

GemmOperands operands(int64_t rows, int64_t in, int64_t out) {
  GemmOperands o;
  o.n_rows = rows;
  o.pitch = round_up(in, kChunk);
  o.out_features = out;
  return o;
}

TEST(SmallGemmPlan, FillsTheMultiprocessors) {
  const GemmWorkspace workspace{.n_partials = 1 << 24, .n_counters = 1 << 16};
  constexpr int kMultiprocessors = 132;
  // Llama-3.1-8B's four products, the head, and the qkv of one of eight ranks of 405B.
  for (const auto& [in, out] : std::vector<std::pair<int64_t, int64_t>>{{4096, 6144},
                                                                        {4096, 4096},
                                                                        {4096, 28672},
                                                                        {14336, 4096},
                                                                        {4096, 128256},
                                                                        {16384, 2304}}) {
    const SmallGemmPlan plan = plan_small_gemm(operands(1, in, out), kMultiprocessors, workspace);
    EXPECT_EQ(plan.n_warps, 8);
    EXPECT_EQ(plan.rows_per_tile, 8);
    const int64_t n_blocks = plan.n_out_tiles * plan.n_slots * plan.n_splits;
    const double busiest = static_cast<double>(ceil_div<int64_t>(n_blocks, kMultiprocessors));
    EXPECT_GT(static_cast<double>(n_blocks) / kMultiprocessors / busiest, 0.87)
        << in << " to " << out << " in " << plan.n_splits;
  }
}

TEST(SmallGemmPlan, StaysInsideItsWorkspace) {
  const GemmWorkspace none;
  EXPECT_EQ(plan_small_gemm(operands(1, 16384, 32), 132, none).n_splits, 1);
  const GemmWorkspace little{.n_partials = 2 * 2 * 128, .n_counters = 2};
  EXPECT_LE(plan_small_gemm(operands(1, 16384, 32), 132, little).n_splits, 2);
}

LowBitShape low_bit(LowBitCode code, int64_t in, int64_t out, int64_t group, bool zeros) {
  static float memory = 0;  // nothing is read
  LowBitMatrix m{.code = code, .in_features = in, .group_size = group};
  m.codes = TensorView(&memory, low_bit_codes_dtype(code), {out, low_bit_columns(code, in)});
  m.scales = TensorView(&memory, low_bit_scales_dtype(code), {out, ceil_div(in, group)});
  if (zeros) m.zeros = TensorView(&memory, DType::kU8, {out, ceil_div(in, group)});
  return low_bit_shape(m);
}

TEST(LowBitShape, PlacesItsParts) {
  const LowBitShape fp8 = low_bit(LowBitCode::kE4M3, 4096, 4096, 4096, false);
  EXPECT_EQ(fp8.pitch, 4096);
  EXPECT_EQ(fp8.n_groups, 1);
  EXPECT_EQ(fp8.group_steps, 128);
  EXPECT_EQ(fp8.scales_at, 4096 * 4096);
  EXPECT_EQ(fp8.bytes, 4096 * 4096 + 4096 * 4);
  const LowBitShape int4 = low_bit(LowBitCode::kInt4, 200, 33, 32, true);
  EXPECT_EQ(int4.pitch, 256);
  EXPECT_EQ(int4.n_groups, 7);
  EXPECT_EQ(int4.group_steps, 1);
  EXPECT_EQ(int4.scales_at, round_up<int64_t>(33 * 128, 256));
  EXPECT_EQ(int4.zeros_at - int4.scales_at, round_up<int64_t>(33 * 7 * 4, 256));
  EXPECT_EQ(int4.order_at, 0);
  EXPECT_EQ(int4.bytes % 256, 0);
  const LowBitShape e2m1 = low_bit(LowBitCode::kE2M1, 2880, 64, 32, false);
  EXPECT_EQ(e2m1.pitch, 23 * 128);
  EXPECT_EQ(e2m1.scales_at, 64 * 23 * 64);
  EXPECT_EQ(e2m1.bytes, 64 * 23 * 64 + round_up<int64_t>(64 * 90, 256));
}

// A lane's 16 bytes are the words that it multiplies, step after step.
TEST(LowBitShape, WordsOfAChunkGoToTheirLanes) {
  std::set<int> seen;
  for (int i = 0; i < 16; ++i) {
    const int at = nibble_word_at(i);
    EXPECT_EQ(at / 4, i % 4);
    EXPECT_EQ(at % 4, i / 4);
    seen.insert(at);
  }
  EXPECT_EQ(seen.size(), 16u);
}

TEST(LowBitPlan, SplitsChunksOfCodes) {
  const GemmWorkspace workspace{.n_partials = 1 << 24, .n_counters = 1 << 16};
  const auto plan = [&](LowBitCode code, int64_t rows, int64_t in, int64_t out, int64_t runs) {
    GemmOperands o;
    o.n_rows = rows;
    o.n_runs = runs;
    o.out_features = out;
    return plan_low_bit_gemm(o, low_bit(code, in, out, 128, false), 132, workspace);
  };
  const SmallGemmPlan one = plan(LowBitCode::kInt4, 1, 16384, 2304, 0);
  EXPECT_EQ(one.rows_per_tile, 8);
  EXPECT_EQ(one.n_warps, 8);
  EXPECT_GT(one.n_splits, 1);
  // 32 chunks of 128 inputs: a warp of two splits would have two of them, of four splits one.
  EXPECT_LE(plan(LowBitCode::kInt4, 1, 4096, 16, 0).n_splits, 2);
  EXPECT_LE(plan(LowBitCode::kE4M3, 1, 4096, 16, 0).n_splits, 4);
  EXPECT_EQ(plan(LowBitCode::kE4M3, 9, 4096, 4096, 0).rows_per_tile, 16);
  EXPECT_EQ(plan(LowBitCode::kE4M3, 64, 4096, 4096, 8).rows_per_tile, 8);
  EXPECT_EQ(plan(LowBitCode::kE4M3, 65, 4096, 4096, 8).rows_per_tile, 16);
  EXPECT_EQ(plan(LowBitCode::kE4M3, 65, 4096, 4096, 8).n_slots, 65 / 16 + 8);
}

TEST(AttentionPlan, SplitsLongDecodesAndNothingElse) {
  const AttentionShapeInfo one{.n_tokens = 1,
                               .n_seqs = 1,
                               .n_heads = 32,
                               .n_kv_heads = 8,
                               .key_dim = 128,
                               .value_dim = 128,
                               .max_keys = 8192};
  const AttentionPlan long_decode = plan_attention(one, 16, 256, 132, 1 << 24);
  EXPECT_EQ(long_decode.heads_per_group, 4);
  EXPECT_EQ(long_decode.rows_per_tile, 4);
  EXPECT_EQ(long_decode.n_splits, 32);
  EXPECT_EQ(long_decode.split_keys, 256);
  AttentionShapeInfo many = one;
  many.n_tokens = many.n_seqs = 128;
  EXPECT_EQ(plan_attention(many, 16, 256, 132, 1 << 24).n_splits, 1);
  // A workspace for two splits.
  EXPECT_LE(plan_attention(one, 16, 256, 132, 2 * 32 * 130).n_splits, 2);
}

TEST(AttentionPlan, SplitsCoverAllKeys) {
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    AttentionShapeInfo info{.n_tokens = 1 + static_cast<int64_t>(random() % 40),
                            .n_heads = 8,
                            .n_kv_heads = 2,
                            .key_dim = 64,
                            .value_dim = 64,
                            .max_keys = 16 * (1 + static_cast<int64_t>(random() % 700))};
    info.n_seqs = 1 + static_cast<int64_t>(random() % 40);
    const AttentionPlan plan = plan_attention(info, 16, 256, 132, 1 << 22);
    EXPECT_EQ(plan.split_keys % kKeyAlignment, 0);
    EXPECT_GE(plan.split_keys * plan.n_splits, info.max_keys);
    EXPECT_LT(plan.split_keys * (plan.n_splits - 1), info.max_keys);
  }
}

// Which calls the wgmma kernel takes, on a device of 132 multiprocessors.
TEST(WgmmaAttention, TakesLongPrefillsOfItsShapes) {
  alignas(16) static const unsigned char kPlace[32] = {};  // nothing is read
  AttentionParams params{};
  params.k_cache = params.v_cache = params.out = const_cast<unsigned char*>(kPlace);
  params.scale = 0.125f;
  params.block_stride = 4096;
  const AttentionShapeInfo prefill{.n_tokens = 2048,
                                   .n_seqs = 1,
                                   .n_heads = 32,
                                   .n_kv_heads = 8,
                                   .key_dim = 128,
                                   .value_dim = 128,
                                   .max_keys = 8192};
  const auto takes = [&](const AttentionShapeInfo& info, DType cache = DType::kBF16) {
    return wgmma_attention_takes(params, info, cache, 132);
  };
  const auto with = [&](auto change) {
    AttentionShapeInfo info = prefill;
    change(info);
    return takes(info);
  };
  EXPECT_TRUE(takes(prefill));
  EXPECT_TRUE(takes(prefill, DType::kF16));
  EXPECT_FALSE(takes(prefill, DType::kE4M3));
  EXPECT_FALSE(takes(prefill, DType::kF32));
  EXPECT_TRUE(with([](auto& info) { info.key_dim = info.value_dim = 64; }));
  EXPECT_FALSE(with([](auto& info) { info.key_dim = info.value_dim = 96; }));
  EXPECT_FALSE(with([](auto& info) { info.value_dim = 64; }));
  // 32 rows of 4 heads a tile: half of the device's 132 is 66 tiles, 9 of each of 8 kv heads.
  EXPECT_TRUE(with([](auto& info) { info.n_tokens = 288; }));
  EXPECT_FALSE(with([](auto& info) { info.n_tokens = 287; }));
  // Decodes, and a prefill that so many of them accompany that tiles would be empty.
  EXPECT_FALSE(with([](auto& info) { info.n_tokens = info.n_seqs = 2048; }));
  EXPECT_TRUE(with([](auto& info) { info.n_seqs = 128; }));
  EXPECT_FALSE(with([](auto& info) { info.n_seqs = 129; }));
  // One query head per kv head: rows alone fill a tile.
  EXPECT_FALSE(with([](auto& info) { info.n_kv_heads = 32, info.n_seqs = 33; }));
  EXPECT_TRUE(with([](auto& info) { info.n_kv_heads = 32, info.n_seqs = 32; }));

  const AttentionParams plain = params;
  const auto with_params = [&](auto change) {
    params = plain;
    change(params);
    return takes(prefill);
  };
  EXPECT_FALSE(with_params([](auto& p) { p.causal = false; }));
  EXPECT_FALSE(with_params([](auto& p) { p.scale = 0; }));
  EXPECT_FALSE(with_params([](auto& p) { p.v_cache = nullptr; }));
  EXPECT_FALSE(with_params([](auto& p) { p.k_cache = kPlace + 2; }));
  EXPECT_FALSE(with_params([](auto& p) { p.block_stride = 4100; }));
  EXPECT_FALSE(with_params([](auto& p) { p.q_stride = 4097; }));
  EXPECT_FALSE(with_params([](auto& p) { p.out_stride = 4097; }));
  EXPECT_TRUE(with_params([](auto& p) { p.window = 128; }));
}

TEST(WgmmaAttention, PacksHeadsIntoTilesOf128Rows) {
  AttentionShapeInfo info{.n_tokens = 300,
                          .n_seqs = 2,
                          .n_heads = 40,
                          .n_kv_heads = 8,
                          .key_dim = 64,
                          .value_dim = 64,
                          .max_keys = 4096};
  const AttentionPlan five = plan_wgmma_attention(info);
  EXPECT_EQ(five.heads_per_group, 5);
  EXPECT_EQ(five.rows_per_tile, 25);
  EXPECT_EQ(five.n_slots, 300 / 25 + 2);
  EXPECT_EQ(five.n_splits, 1);
  EXPECT_EQ(five.split_keys, 4096);
  info.n_heads = 150;
  info.n_kv_heads = 1;
  const AttentionPlan many = plan_wgmma_attention(info);
  EXPECT_EQ(many.heads_per_group, 128);
  EXPECT_EQ(many.n_groups, 2);
  EXPECT_EQ(many.rows_per_tile, 1);
}

TEST(Attention, FirstVisibleKey) {
  EXPECT_EQ(first_visible(10, 0, 0), 0);
  EXPECT_EQ(first_visible(10, 4, 0), 7);
  EXPECT_EQ(first_visible(2, 4, 0), 0);
  EXPECT_EQ(first_visible(10, 0, 8), 8);
  EXPECT_EQ(first_visible(10, 2, 8), 9);
}

}  // namespace
}  // namespace trireme::kernels::cuda
