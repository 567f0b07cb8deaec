#include "parallel/plan/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/plan/format.h"
#include "parallel/plan/model_size.h"
#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using testing::golden_spec;
using ::testing::HasSubstr;
using testing::small_spec;

constexpr int64_t kGb = 1'000'000'000;

TEST(MemoryBudget, WeightsAndBlocksOfARankAddUp) {
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  const Result<ParallelPlan> whole = make_parallel_plan(spec, {});
  const RankMemory memory = rank_memory(spec, *whole, 0, {.memory_bytes = 80 * kGb});
  EXPECT_EQ(memory.weight_bytes, spec.weight_bytes(DType::kBF16));
  EXPECT_EQ(memory.kv_bytes_per_block, 16 * spec.kv_bytes_per_token(DType::kBF16));
  EXPECT_EQ(memory.n_kv_blocks,
            (72 * kGb - memory.weight_bytes - memory.activation_bytes) / memory.kv_bytes_per_block);
  // Without replication the ranks' KV blocks add up to the whole block.
  const Result<ParallelPlan> cut = make_parallel_plan(spec, {.tp = 4, .pp = 2});
  int64_t kv = 0;
  for (int rank = 0; rank < 8; ++rank) {
    kv += rank_memory(spec, *cut, rank, {.memory_bytes = kGb}).kv_bytes_per_block;
  }
  EXPECT_EQ(kv, memory.kv_bytes_per_block);
}

TEST(MemoryBudget, ACacheOfE4M3TakesAByteOfEach) {
  EXPECT_EQ(kv_dtype_of({}), DType::kBF16);
  EXPECT_EQ(kv_dtype_of({.compute_dtype = "float32"}), DType::kF32);
  EXPECT_EQ(kv_dtype_of({.compute_dtype = "float32", .kv_cache_dtype = "fp8_e4m3"}), DType::kE4M3);
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  EXPECT_EQ(spec.kv_bytes_per_token(DType::kE4M3), 65'536);
  const Result<ParallelPlan> whole = make_parallel_plan(spec, {});
  const MemoryInputs bf16{.memory_bytes = 80 * kGb};
  const MemoryInputs e4m3{.kv_dtype = DType::kE4M3, .memory_bytes = 80 * kGb};
  const RankMemory wide = rank_memory(spec, *whole, 0, bf16);
  const RankMemory narrow = rank_memory(spec, *whole, 0, e4m3);
  EXPECT_EQ(narrow.weight_bytes, wide.weight_bytes);
  EXPECT_EQ(narrow.activation_bytes, wide.activation_bytes);
  EXPECT_EQ(2 * narrow.kv_bytes_per_block, wide.kv_bytes_per_block);
  EXPECT_EQ(narrow.n_kv_blocks / 2, wide.n_kv_blocks);
  // What did not fit may fit now.
  const MemoryInputs small{.memory_bytes = 30 * kGb};
  MemoryInputs small_e4m3 = small;
  small_e4m3.kv_dtype = DType::kE4M3;
  constexpr int32_t kTokens = 100'000;
  EXPECT_FALSE(plan_kv_blocks(spec, *whole, small, kTokens).ok());
  EXPECT_TRUE(plan_kv_blocks(spec, *whole, small_e4m3, kTokens).ok());
}

TEST(MemoryBudget, WeightsThatStayLowBitCountTheirCodesAndScales) {
  ModelSpec spec = golden_spec("llama-3.1-8b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {});
  const auto bytes = [&] {
    const MemoryInputs keep{.keep_low_bit = true, .memory_bytes = 80 * kGb};
    return rank_memory(spec, *plan, 0, keep).weight_bytes;
  };
  const int64_t all = spec.weight_bytes(DType::kBF16);
  EXPECT_EQ(bytes(), all);  // nothing is stored quantised
  // Of a layer: q, o; k, v; gate, up, down.
  const int64_t matrices = int64_t{32} * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336);
  spec.quantization = {.layout = QuantLayout::kScaled,
                       .scale = QuantScale::kBlock,
                       .block_rows = 128,
                       .block_columns = 128};
  EXPECT_EQ(bytes(), all - matrices + matrices / 32);
  EXPECT_EQ(held_weight_bytes(spec, {.keep_low_bit = true}), bytes());
  spec.quantization = {.layout = QuantLayout::kAwq, .bits = 4, .group_size = 128};
  EXPECT_EQ(bytes(), all - matrices / 2 * 3 + matrices / 128 * 5);
  spec.quantization = {.layout = QuantLayout::kScaled, .element = QuantElement::kInt8};
  EXPECT_EQ(bytes(), all - matrices + matrices / 4096 * 4);
  spec.quantization = {.layout = QuantLayout::kPackedInts, .bits = 8, .group_size = 128};
  EXPECT_EQ(bytes(), all - matrices + matrices / 32);
  spec.quantization = {.layout = QuantLayout::kGptq, .bits = 8, .group_size = 128};
  EXPECT_EQ(bytes(), all);
}

// Of MXFP4 experts alone are codes; a share of an expert's width that cuts blocks of 32 inputs
// leaves its down projection plain.
TEST(MemoryBudget, ExpertsOfMxfp4CountTheirCodesAndScales) {
  ModelSpec spec = golden_spec("gpt-oss-120b");
  ASSERT_EQ(spec.quantization.layout, QuantLayout::kMxfp4);
  const int64_t one = int64_t{2880} * 2880;  // gate, up or down
  const int64_t experts = int64_t{36} * 128 * one;
  const int64_t all = spec.weight_bytes(DType::kBF16);
  const auto bytes = [&](int tp) {
    const auto plan = make_parallel_plan(spec, {.tp = tp, .experts = ExpertCut::kTensor});
    EXPECT_TRUE(plan.ok()) << plan.error().message;
    return rank_memory(spec, *plan, 0, {.keep_low_bit = true, .memory_bytes = 80 * kGb});
  };
  EXPECT_EQ(bytes(1).weight_bytes, all - 3 * experts * 2 + 3 * experts / 32 * 17);
  EXPECT_NEAR(static_cast<double>(bytes(1).weight_bytes), 65.2e9, 0.1e9);
  // 1440 inputs are 45 blocks, 720 are not whole ones.
  const int64_t halves = bytes(2).weight_bytes;
  const int64_t quarters = bytes(4).weight_bytes;
  const int64_t expanded_down = experts / 4 * 2;
  EXPECT_LT(halves, all / 4);
  EXPECT_GT(quarters, expanded_down + 2 * experts / 4 / 32 * 17);
}

TEST(MemoryBudget, ALatentIsCachedOnceAndWholeOnEveryRank) {
  ModelSpec spec = small_spec();
  spec.mla = MlaSpec{.kv_rank = 24, .nope_dim = 4, .rope_dim = 8, .value_dim = 4};
  EXPECT_EQ(spec.kv_bytes_per_token(DType::kBF16), 4 * (24 + 8) * 2);
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 2});
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(rank_memory(spec, *plan, rank, {}).kv_bytes_per_block,
              16 * spec.kv_bytes_per_token(DType::kBF16));
  }
}

TEST(MemoryBudget, ReplicatedKvHeadsAndPaddingAreHeld) {
  ModelSpec spec = small_spec();  // 33 entries of 16; 2 kv heads
  spec.n_heads = 8;
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 8});
  int64_t kv = 0;
  for (int rank = 0; rank < 8; ++rank) {
    kv += rank_memory(spec, *plan, rank, {}).kv_bytes_per_block;
  }
  EXPECT_EQ(kv, 4 * 16 * spec.kv_bytes_per_token(DType::kBF16));
  // The last rank's vocabulary is all padding and takes the same room as another's; its layer
  // slices are narrower by what 20 columns leave over in 8 parts.
  const RankMemory first = rank_memory(spec, *plan, 0, {});
  const RankMemory last = rank_memory(spec, *plan, 7, {});
  EXPECT_EQ(first.weight_bytes - last.weight_bytes, 2 * spec.n_layers() * 3 * spec.hidden);
}

TEST(MemoryBudget, ATiedHeadIsHeldBesideItsTable) {
  ModelSpec spec = small_spec();
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {});
  const int64_t untied = rank_memory(spec, *plan, 0, {}).weight_bytes;
  spec.tied_embeddings = true;
  EXPECT_EQ(rank_memory(spec, *plan, 0, {}).weight_bytes, untied);
}

TEST(MemoryBudget, TheReplicaHasWhatItsPoorestRankHas) {
  const ModelSpec spec = golden_spec("llama-3.1-8b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {.pp = 2, .stage_layers = {20, 12}});
  const MemoryInputs inputs{.memory_bytes = 40 * kGb};
  const Result<int64_t> blocks = plan_kv_blocks(spec, *plan, inputs, 256);
  ASSERT_TRUE(blocks.ok());
  EXPECT_EQ(*blocks, rank_memory(spec, *plan, 0, inputs).n_kv_blocks);
  EXPECT_LT(*blocks, rank_memory(spec, *plan, 1, inputs).n_kv_blocks);
}

TEST(MemoryBudget, TooLittleMemorySaysTheNumbersAndWhatWouldFit) {
  const ModelSpec spec = golden_spec("llama-3.1-70b");
  const Result<ParallelPlan> plan = make_parallel_plan(spec, {});
  const Result<int64_t> blocks = plan_kv_blocks(spec, *plan, {.memory_bytes = 80 * kGb}, 256);
  ASSERT_FALSE(blocks.ok());
  EXPECT_EQ(blocks.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(blocks.error().message, HasSubstr("weights 141.1"));
  EXPECT_THAT(blocks.error().message, HasSubstr("72.0 GB"));
  EXPECT_THAT(blocks.error().message, HasSubstr("tp 2 x pp 1"));
  const Result<int64_t> tiny = plan_kv_blocks(spec, *plan, {.memory_bytes = 1000}, 256);
  EXPECT_THAT(tiny.error().message, HasSubstr("no plan"));
}

TEST(MemoryBudget, TheSmallestPlanPrefersWideTpAndReallyFits) {
  const ModelSpec spec = golden_spec("llama-3.1-405b");
  const MemoryInputs inputs{.memory_bytes = 141 * kGb};
  const std::optional<ParallelPlan> plan = smallest_plan_that_fits(spec, inputs, 1024, 8, 64);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->tp * plan->pp, 7);
  EXPECT_TRUE(plan_kv_blocks(spec, *plan, inputs, 1024).ok());
  EXPECT_FALSE(smallest_plan_that_fits(spec, inputs, 1024, 8, 6).has_value());
}

TEST(Format, BytesAndGroups) {
  EXPECT_EQ(format_bytes(12), "12 B");
  EXPECT_EQ(format_bytes(410'752), "410.8 kB");
  EXPECT_EQ(format_bytes(811'706'777'600), "811.7 GB");
  EXPECT_EQ(format_bytes(999'990), "1.00 MB");
  EXPECT_EQ(format_bytes(4'230'000'000), "4.23 GB");
  EXPECT_EQ(format_grouped(405'853'388'800), "405,853,388,800");
  EXPECT_EQ(format_grouped(999), "999");
  EXPECT_EQ(format_grouped(-1000), "-1,000");
  EXPECT_EQ(format_grouped(-100), "-100");
}

}  // namespace
}  // namespace trireme::plan
