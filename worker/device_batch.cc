#include "worker/device_batch.h"

#include <cstring>

#include "base/check.h"

namespace trireme::worker {
namespace {

constexpr int64_t kAlignment = 64;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// In the order of upload.
int64_t bytes_of(const BatchSize& size) {
  const int64_t rows = aligned(size.n_tokens * 4);
  const int64_t group = aligned(size.n_tokens * 8) + aligned(size.n_seqs * size.table_width * 4);
  return rows * (size.rope_sets ? 4 : 3) + aligned((size.n_seqs + 1) * 4) +
         aligned(size.n_seqs * 4) + size.n_groups * group;
}

BatchSize size_of(const HostBatch& host) {
  return {.n_tokens = static_cast<int64_t>(host.ids.size()),
          .n_seqs = static_cast<int64_t>(host.context_len.size()),
          .table_width = host.max_blocks,
          .n_groups = static_cast<int64_t>(host.kv_groups.size()),
          .rope_sets = !host.rope_sets.empty()};
}

}  // namespace

Status DeviceBatch::allocate(kernels::Backend& backend, const BatchSize& size,
                             const TensorView& samples) {
  samples_ = samples;
  ASSIGN_OR_RETURN(buffer_, allocate_tensor(backend, DType::kU8, {bytes_of(size)}));
  return {};
}

template <typename T>
TensorView DeviceBatch::stage(const std::vector<T>& part) {
  const size_t begin = staged_.size();
  const auto n_bytes = static_cast<int64_t>(part.size() * sizeof(T));
  staged_.resize(begin + static_cast<size_t>(aligned(n_bytes)));
  if (n_bytes > 0) std::memcpy(staged_.data() + begin, part.data(), static_cast<size_t>(n_bytes));
  return {static_cast<std::byte*>(buffer_.view.data) + begin,
          dtype_of<T>(),
          {static_cast<int64_t>(part.size())}};
}

bool DeviceBatch::holds(const HostBatch& host) const {
  return bytes_of(size_of(host)) <= buffer_.view.dim(0);
}

Result<Batch> DeviceBatch::upload(const HostBatch& host, StepContext& context) {
  const BatchSize size = size_of(host);
  const int64_t n_bytes = bytes_of(size);
  if (!holds(host)) {
    context.op = "growing the buffer of the step's rows";
    ASSIGN_OR_RETURN(buffer_, allocate_tensor(*context.backend, DType::kU8, {n_bytes * 2}));
  }
  staged_.clear();
  Batch batch;
  batch.ids = stage(host.ids);
  batch.positions = stage(host.positions);
  if (size.rope_sets) batch.rope_sets = stage(host.rope_sets);
  batch.query_start = stage(host.query_start);
  batch.context_len = stage(host.context_len);
  for (const HostKvTable& table : host.kv_groups) {
    const TensorView slots = stage(table.slots);
    const TensorView blocks = stage(table.block_table);
    CHECK_EQ(blocks.dim(0), size.n_seqs * size.table_width);
    batch.kv_groups.push_back(
        {.slots = slots,
         .block_table = TensorView(blocks.data, DType::kI32, {size.n_seqs, size.table_width})});
  }
  // Last, so that the other parts lie where they do without.
  const TensorView sources = stage(host.id_sources);
  CHECK_LE(static_cast<int64_t>(staged_.size()), n_bytes);
  context.backend->copy_to_device(buffer_.view.data, staged_.data(), staged_.size(),
                                  context.stream);
  if (!host.id_sources.empty()) {
    context.backend->place_tokens({.tokens = samples_, .sources = sources, .ids = batch.ids},
                                  context.stream);
  }
  return batch;
}

}  // namespace trireme::worker
