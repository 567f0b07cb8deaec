#include "worker/decode_graphs.h"

#include <algorithm>

#include "base/log.h"

namespace trireme::worker {
namespace {

// A graph takes some megabytes: more of them than this are a sign of sizes that do not come again.
constexpr int64_t kMaxGraphs = 128;

}  // namespace

Result<std::unique_ptr<DecodeGraphs>> DecodeGraphs::create(const DecodeGraphsInputs& inputs) {
  std::unique_ptr<DecodeGraphs> graphs(new DecodeGraphs(inputs));
  const TableLimits& limits = inputs.limits;
  graphs->max_width_ =
      table_width_on_grid((limits.context + limits.block_size - 1) / limits.block_size);
  TRY(graphs->device_batch_.allocate(inputs.backend,
                                     {.n_tokens = inputs.max_rows,
                                      .n_seqs = inputs.max_rows,
                                      .table_width = graphs->max_width_,
                                      .n_groups = static_cast<int64_t>(limits.kv_groups.size()),
                                      .rope_sets = limits.has_rope_sets()},
                                     inputs.samples));
  return graphs;
}

bool DecodeGraphs::takes(const HostBatch& batch, bool wants_logits) const {
  return usable_ && is_decode_step(batch, wants_logits) &&
         rows_on_grid(static_cast<int64_t>(batch.ids.size())) <= in_.max_rows &&
         table_width_on_grid(batch.max_blocks) <= max_width_;
}

Status DecodeGraphs::run(const HostBatch& batch, const std::function<Status(const Batch&)>& work,
                         StepContext& context) {
  const int64_t n_rows = rows_on_grid(static_cast<int64_t>(batch.ids.size()));
  const int64_t width = table_width_on_grid(batch.max_blocks);
  pad_decode_step(batch, n_rows, width, in_.spare_block, in_.limits.block_size, padded_);
  CHECK(device_batch_.holds(padded_))
      << "what was recorded would read where the rows no longer are";
  ASSIGN_OR_RETURN(const Batch on_device, device_batch_.upload(padded_, context));
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

// Leaves the entry without work where a rank's backend does not record.
Status DecodeGraphs::record(Entry& entry, const Batch& batch,
                            const std::function<Status(const Batch&)>& work, StepContext& context) {
  const int64_t free_before = free_bytes();
  std::unique_ptr<kernels::RecordedWork> recording;
  Status state = in_.backend.begin_recording(context.stream);
  if (state.ok()) {
    const Status enqueued = work(batch);
    auto recorded = in_.backend.end_recording(context.stream);
    if (!enqueued.ok()) return enqueued;
    if (recorded.ok()) {
      recording = std::move(*recorded);
    } else {
      state = recorded.error();
    }
  }
  ASSIGN_OR_RETURN(const bool all, all_recorded(recording != nullptr, context));
  if (!all) {
    usable_ = false;
    log::warn("decode steps are launched op by op: {}",
              state.ok() ? "another rank could not record one" : state.error().message);
    return {};
  }
  entry.work = std::move(recording);
  ++counts_.n_graphs;
  counts_.bytes += std::max<int64_t>(0, free_before - free_bytes());
  return {};
}

Result<bool> DecodeGraphs::all_recorded(bool mine, StepContext& context) {
  std::vector<std::byte> all;
  TRY(in_.exchange.all_gather({std::byte{mine}}, all, "recording all_gather", context));
  return std::ranges::none_of(all, [](std::byte recorded) { return recorded == std::byte{0}; });
}

int64_t DecodeGraphs::free_bytes() const {
  const auto bytes = in_.backend.free_memory_bytes();
  return bytes.ok() ? static_cast<int64_t>(*bytes) : 0;
}

}  // namespace trireme::worker
