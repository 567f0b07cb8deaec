// DecodeGraphs: decode steps that are recorded once for each size, and done again without a launch
// per op.
//
// A size (rows and width of the block tables, decode_grid.h) is met by an ordinary pass first,
// which makes whatever the backend makes on first use; the second time it is recorded, and from
// then on replayed. What changes from step to step is read from buffers that stay where they are.
// Where recording fails on one rank of the tp group, none of them keeps the recording, and steps
// are done op by op from then on, with a line in the log: a sum that one rank launches and another
// replays might not meet. Used by the rank's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "worker/decode_grid.h"
#include "worker/device_batch.h"
#include "worker/host_exchange.h"
#include "worker/layers/pass.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

struct DecodeGraphsInputs {
  kernels::Backend& backend;
  comm::Group& tp;         // whose sums are recorded
  HostExchange& exchange;  // over the same ranks
  const TableLimits& limits;
  int32_t spare_block = 0;  // of the cache, which no sequence has
  int64_t max_rows = 0;     // of a step that is recorded
  TensorView samples;       // DeviceBatch::allocate
};

// What recording has come to, for metrics.
struct GraphCounts {
  int64_t n_graphs = 0;
  int64_t n_replays = 0;  // steps
  int64_t bytes = 0;      // device memory that the graphs took, as far as it was seen to go
};

class DecodeGraphs {
 public:
  // What `inputs` refers to outlives the graphs. The errors are the buffers'.
  static Result<std::unique_ptr<DecodeGraphs>> create(const DecodeGraphsInputs& inputs);

  // A decode step that fits, and nothing has gone wrong so far.
  bool takes(const HostBatch& batch, bool wants_logits) const;
  // Does `work` on the batch, padded: at once, or as it was recorded. `work` enqueues ops and sums
  // of the tp group alone, on memory that does not move.
  Status run(const HostBatch& batch, const std::function<Status(const Batch&)>& work,
             StepContext& context);

  const GraphCounts& counts() const { return counts_; }

 private:
  using Size = std::tuple<int64_t, int64_t, bool>;  // rows, table width, rope sets
  struct Entry {
    bool warm = false;  // has run once
    std::unique_ptr<kernels::RecordedWork> work;
  };

  explicit DecodeGraphs(const DecodeGraphsInputs& inputs) : in_(inputs) {}
  Status record(Entry& entry, const Batch& batch, const std::function<Status(const Batch&)>& work,
                StepContext& context);
  // Whether every rank of the tp group has a recording.
  Result<bool> all_recorded(bool mine, StepContext& context);
  int64_t free_bytes() const;

  DecodeGraphsInputs in_;
  bool usable_ = true;
  int64_t max_width_ = 0;
  HostBatch padded_;
  DeviceBatch device_batch_;  // never grows
  std::map<Size, Entry> entries_;
  GraphCounts counts_;
};

}  // namespace trireme::worker
