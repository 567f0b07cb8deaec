#include "worker/decode_grid.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace trireme::worker {
namespace {

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

int64_t rows_on_grid(int64_t n) {
  if (n <= 2) return n;
  if (n <= 16) return round_up(n, 4);
  return round_up(n, n <= 128 ? 8 : 16);
}

int64_t table_width_on_grid(int64_t n) {
  constexpr int64_t kLeast = 16;
  return std::max(kLeast, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n))));
}

bool is_decode_step(const HostBatch& batch, bool wants_logits) {
  const size_t n = batch.ids.size();
  if (n == 0 || n > static_cast<size_t>(kMaxRecordedRows)) return false;
  if (batch.context_len.size() != n || !batch.embedded.empty()) return false;
  for (size_t i = 0; i < n; ++i) {
    if (batch.query_start[i + 1] - batch.query_start[i] != 1) return false;
  }
  if (!wants_logits) return true;
  if (batch.logits_rows.size() != n) return false;
  for (size_t i = 0; i < n; ++i) {
    const LogitsRow& row = batch.logits_rows[i];
    if (!row.sample || row.batch_row != static_cast<int32_t>(i)) return false;
  }
  return true;
}

void pad_decode_step(const HostBatch& batch, int64_t n_rows, int64_t width, int32_t spare_block,
                     int32_t block_size, HostBatch& padded) {
  const size_t n = batch.ids.size();
  const auto rows = static_cast<size_t>(n_rows);
  const auto columns = static_cast<size_t>(width);
  const auto old_columns = static_cast<size_t>(batch.max_blocks);
  CHECK_LE(n, rows);
  CHECK_LE(old_columns, columns);
  padded.clear();
  padded.max_blocks = static_cast<int32_t>(width);
  padded.ids = batch.ids;
  padded.ids.resize(rows, 0);
  padded.id_sources = batch.id_sources;
  if (!padded.id_sources.empty()) padded.id_sources.resize(rows, -1);
  padded.positions = batch.positions;
  padded.positions.resize(rows, 0);
  padded.rope_sets = batch.rope_sets;
  if (!padded.rope_sets.empty()) padded.rope_sets.resize(rows, 0);
  padded.context_len = batch.context_len;
  padded.context_len.resize(rows, 1);
  for (size_t i = 0; i <= rows; ++i) padded.query_start.push_back(static_cast<int32_t>(i));
  padded.kv_groups.resize(batch.kv_groups.size());
  for (size_t group = 0; group < batch.kv_groups.size(); ++group) {
    const HostKvTable& from = batch.kv_groups[group];
    HostKvTable& to = padded.kv_groups[group];
    to.slots = from.slots;
    to.slots.resize(rows, int64_t{spare_block} * block_size);
    to.block_table.assign(rows * columns, 0);
    for (size_t i = 0; i < n; ++i) {
      std::copy_n(from.block_table.begin() + static_cast<std::ptrdiff_t>(i * old_columns),
                  old_columns, to.block_table.begin() + static_cast<std::ptrdiff_t>(i * columns));
    }
    for (size_t i = n; i < rows; ++i) to.block_table[i * columns] = spare_block;
  }
}

}  // namespace trireme::worker
