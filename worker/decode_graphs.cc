#include "worker/decode_graphs.h"

#include <algorithm>

#include "base/log.h"

namespace trireme::worker {
namespace {

// A graph takes some megabytes: more of them than this are a sign of sizes that do not come again.
constexpr int64_t kMaxGraphs = 128;

template <typename T>
TensorView upload_to(kernels::Backend& backend, const std::vector<T>& host,
                     const DeviceTensor& device, kernels::Stream stream) {
  CHECK_LE(static_cast<int64_t>(host.size()), device.view.dim(0));
  backend.copy_to_device(device.view.data, host.data(), host.size() * sizeof(T), stream);
  return device.view.rows(0, static_cast<int64_t>(host.size()));
}

}  // namespace

Result<std::unique_ptr<DecodeGraphs>> DecodeGraphs::create(const DecodeGraphsInputs& inputs) {
  std::unique_ptr<DecodeGraphs> graphs(new DecodeGraphs(inputs));
  kernels::Backend& backend = inputs.backend;
  const int64_t n = inputs.max_rows;
  const TableLimits& limits = inputs.limits;
  graphs->max_width_ =
      table_width_on_grid((limits.context + limits.block_size - 1) / limits.block_size);
  ASSIGN_OR_RETURN(graphs->ids_, allocate_tensor(backend, DType::kI32, {n}));
  ASSIGN_OR_RETURN(graphs->positions_, allocate_tensor(backend, DType::kI32, {n}));
  ASSIGN_OR_RETURN(graphs->rope_sets_, allocate_tensor(backend, DType::kI32, {n}));
  ASSIGN_OR_RETURN(graphs->query_start_, allocate_tensor(backend, DType::kI32, {n + 1}));
  ASSIGN_OR_RETURN(graphs->context_len_, allocate_tensor(backend, DType::kI32, {n}));
  for (size_t group = 0; group < limits.kv_groups.size(); ++group) {
    Tables& tables = graphs->tables_.emplace_back();
    ASSIGN_OR_RETURN(tables.slots, allocate_tensor(backend, DType::kI64, {n}));
    ASSIGN_OR_RETURN(tables.block_table,
                     allocate_tensor(backend, DType::kI32, {n * graphs->max_width_}));
  }
  return graphs;
}

bool DecodeGraphs::takes(const HostBatch& batch, bool wants_logits) const {
  return usable_ && is_decode_step(batch, wants_logits) &&
         rows_on_grid(static_cast<int64_t>(batch.ids.size())) <= in_.max_rows &&
         table_width_on_grid(batch.max_blocks) <= max_width_;
}

Batch DecodeGraphs::upload(StepContext& context) {
  kernels::Backend& backend = in_.backend;
  const kernels::Stream stream = context.stream;
  Batch batch;
  batch.ids = upload_to(backend, padded_.ids, ids_, stream);
  batch.positions = upload_to(backend, padded_.positions, positions_, stream);
  if (!padded_.rope_sets.empty()) {
    batch.rope_sets = upload_to(backend, padded_.rope_sets, rope_sets_, stream);
  }
  batch.query_start = upload_to(backend, padded_.query_start, query_start_, stream);
  batch.context_len = upload_to(backend, padded_.context_len, context_len_, stream);
  const auto n_rows = static_cast<int64_t>(padded_.ids.size());
  for (size_t group = 0; group < tables_.size(); ++group) {
    const HostKvTable& host = padded_.kv_groups[group];
    upload_to(backend, host.block_table, tables_[group].block_table, stream);
    batch.kv_groups.push_back(
        {.slots = upload_to(backend, host.slots, tables_[group].slots, stream),
         .block_table = TensorView(tables_[group].block_table.view.data, DType::kI32,
                                   {n_rows, padded_.max_blocks})});
  }
  return batch;
}

Status DecodeGraphs::run(const HostBatch& batch, const std::function<Status(const Batch&)>& work,
                         StepContext& context) {
  const int64_t n_rows = rows_on_grid(static_cast<int64_t>(batch.ids.size()));
  const int64_t width = table_width_on_grid(batch.max_blocks);
  pad_decode_step(batch, n_rows, width, in_.spare_block, in_.limits.block_size, padded_);
  const Batch on_device = upload(context);
  Entry& entry = entries_[{n_rows, width, !padded_.rope_sets.empty()}];
  if (!entry.warm) {
    entry.warm = true;
    return work(on_device);
  }
  if (entry.work == nullptr) {
    if (counts_.n_graphs >= kMaxGraphs) return work(on_device);
    TRY(record(entry, on_device, work, context));
    if (entry.work == nullptr) return work(on_device);
  }
  if (!in_.backend.replay(*entry.work, context.stream)) {
    // The backend's memory has moved, and every graph has the old addresses.
    entries_.clear();
    counts_.n_graphs = 0;
    counts_.bytes = 0;
    return work(on_device);
  }
  ++counts_.n_replays;
  if (in_.tp.size() == 1) return {};
  return in_.tp.replayed(context.begin("recorded decode step"));
}

// Leaves the entry without work where this backend does not record.
Status DecodeGraphs::record(Entry& entry, const Batch& batch,
                            const std::function<Status(const Batch&)>& work, StepContext& context) {
  const int64_t free_before = free_bytes();
  Status begun = in_.backend.begin_recording(context.stream);
  if (begun.ok()) {
    const Status enqueued = work(batch);
    auto recorded = in_.backend.end_recording(context.stream);
    if (!enqueued.ok()) return enqueued;
    if (recorded.ok()) {
      entry.work = std::move(*recorded);
      ++counts_.n_graphs;
      counts_.bytes += std::max<int64_t>(0, free_before - free_bytes());
      return {};
    }
    begun = recorded.error();
  }
  usable_ = false;
  log::warn("decode steps are launched op by op: {}", begun.error().message);
  return {};
}

int64_t DecodeGraphs::free_bytes() const {
  const auto bytes = in_.backend.free_memory_bytes();
  return bytes.ok() ? static_cast<int64_t>(*bytes) : 0;
}

}  // namespace trireme::worker
