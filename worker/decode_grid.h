// Which sizes decode steps are recorded in, and a step padded to one of them. Pure.
//
// A recorded step has fixed shapes: rows and the width of block tables are rounded up to a grid,
// and rows that nobody asked for compute on a block of the cache that belongs to nobody.
#pragma once

#include <cstdint>

#include "worker/sequence_table.h"

namespace trireme::worker {

// More rows than that are worth a launch per op.
inline constexpr int64_t kMaxRecordedRows = 256;

// The least row count of the grid that is not below n: 1, 2, 4, and on by 4 to 16, by 8 to 128, by
// 16 to kMaxRecordedRows.
int64_t rows_on_grid(int64_t n);
// The least width of block tables of the grid that is not below n: 16, and on by doubling. A wider
// table costs attention nothing but idle blocks.
int64_t table_width_on_grid(int64_t n);

// Every sequence has one row, up to kMaxRecordedRows of them; `wants_logits`: and its logits are
// wanted for the next token, in the rows' order. Nothing else is asked of the step.
bool is_decode_step(const HostBatch& batch, bool wants_logits);

// `batch`, a decode step, with `n_rows` rows and tables of `width` blocks; `spare_block` takes what
// the added rows write. Their logits belong to nobody.
void pad_decode_step(const HostBatch& batch, int64_t n_rows, int64_t width, int32_t spare_block,
                     int32_t block_size, HostBatch& padded);

}  // namespace trireme::worker
