// The sizes of recorded decode steps, and a step padded to one.
#include "worker/decode_grid.h"

#include <gtest/gtest.h>

namespace trireme::worker {
namespace {

TEST(DecodeGrid, IsFineAndGrowing) {
  int64_t last = 0;
  int n_sizes = 0;
  for (int64_t n = 1; n <= kMaxRecordedRows; ++n) {
    const int64_t rows = rows_on_grid(n);
    ASSERT_GE(rows, n);
    ASSERT_LE(rows, kMaxRecordedRows);
    ASSERT_LE(rows - n, std::max<int64_t>(7, n / 8)) << n;
    ASSERT_EQ(rows_on_grid(rows), rows);
    n_sizes += rows != last ? 1 : 0;
    last = rows;
  }
  EXPECT_EQ(n_sizes, 28);
  EXPECT_EQ(table_width_on_grid(0), 16);
  EXPECT_EQ(table_width_on_grid(16), 16);
  EXPECT_EQ(table_width_on_grid(17), 32);
  EXPECT_EQ(table_width_on_grid(8192), 8192);
}

// Two sequences of one row; the second's window has moved past its first block.
HostBatch decode_batch() {
  HostBatch batch;
  batch.ids = {7, 9};
  batch.positions = {20, 40};
  batch.query_start = {0, 1, 2};
  batch.context_len = {21, 41};
  batch.max_blocks = 3;
  batch.kv_groups.resize(2);
  for (HostKvTable& group : batch.kv_groups) {
    group.slots = {5 * 16 + 4, 8 * 16 + 8};
    group.block_table = {4, 5, 0, 0, 6, 8};
  }
  batch.logits_rows = {{.batch_row = 0, .position = 20, .sample = true},
                       {.batch_row = 1, .position = 40, .sample = true}};
  return batch;
}

TEST(DecodeGrid, ADecodeStepIsARowForEachSequenceAndNothingElse) {
  EXPECT_TRUE(is_decode_step(decode_batch(), true));
  EXPECT_FALSE(is_decode_step({}, true));
  HostBatch prefill = decode_batch();
  prefill.query_start = {0, 2};
  prefill.context_len = {41};
  EXPECT_FALSE(is_decode_step(prefill, true));
  HostBatch quiet = decode_batch();
  quiet.logits_rows.pop_back();
  EXPECT_FALSE(is_decode_step(quiet, true)) << "a chunk's last row that samples nothing";
  EXPECT_TRUE(is_decode_step(quiet, false)) << "an earlier stage makes no logits";
  HostBatch known = decode_batch();
  known.logits_rows[1].sample = false;
  EXPECT_FALSE(is_decode_step(known, true)) << "log-probabilities of a prompt";
  HostBatch pooled = decode_batch();
  pooled.embedded.push_back({0, 1});
  EXPECT_FALSE(is_decode_step(pooled, false));
}

TEST(DecodeGrid, PaddingKeepsTheRowsAndAddsHarmlessOnes) {
  const HostBatch batch = decode_batch();
  HostBatch padded;
  pad_decode_step(batch, 4, 16, 99, 16, padded);
  EXPECT_EQ(padded.ids, (std::vector<int32_t>{7, 9, 0, 0}));
  EXPECT_EQ(padded.positions, (std::vector<int32_t>{20, 40, 0, 0}));
  EXPECT_EQ(padded.query_start, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(padded.context_len, (std::vector<int32_t>{21, 41, 1, 1}));
  EXPECT_TRUE(padded.rope_sets.empty());
  EXPECT_EQ(padded.max_blocks, 16);
  ASSERT_EQ(padded.kv_groups.size(), 2u);
  for (const HostKvTable& group : padded.kv_groups) {
    EXPECT_EQ(group.slots, (std::vector<int64_t>{84, 136, 99 * 16, 99 * 16}));
    ASSERT_EQ(group.block_table.size(), 64u);
    EXPECT_EQ(group.block_table[1], 5);
    EXPECT_EQ(group.block_table[16 + 2], 8);
    EXPECT_EQ(group.block_table[32], 99);
    EXPECT_EQ(group.block_table[48], 99);
  }
  HostBatch same;
  pad_decode_step(batch, 2, 16, 99, 16, same);
  EXPECT_EQ(same.ids, batch.ids);
  HostBatch with_sets = batch;
  with_sets.rope_sets = {1, 0};
  pad_decode_step(with_sets, 4, 16, 99, 16, padded);
  EXPECT_EQ(padded.rope_sets, (std::vector<int32_t>{1, 0, 0, 0}));
}

}  // namespace
}  // namespace trireme::worker
