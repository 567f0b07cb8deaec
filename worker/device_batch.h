// DeviceBatch: a step's rows on the device, in one buffer that one copy fills.
//
// Where a part lies follows from the batch's sizes alone, so that a step that was recorded for
// some sizes finds the next batch of these sizes where it expects it (decode_graphs.h). Used by
// the rank's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "worker/layers/pass.h"
#include "worker/layers/step_context.h"
#include "worker/sequence_table.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

struct BatchSize {
  int64_t n_tokens = 0;
  int64_t n_seqs = 0;
  int64_t table_width = 0;  // blocks
  int64_t n_groups = 1;     // of layers
  bool rope_sets = false;
};

class DeviceBatch {
 public:
  // With room for a batch of this size; a larger one makes the buffer grow. `samples`: on the
  // device, what HostBatch::id_sources count; undefined: nothing does.
  Status allocate(kernels::Backend& backend, const BatchSize& size, const TensorView& samples);

  // Whether it is uploaded to where the last one was.
  bool holds(const HostBatch& host) const;
  // The views are good until the next upload. An error only when the buffer has to grow and the
  // device has no memory for it.
  Result<Batch> upload(const HostBatch& host, StepContext& context);

 private:
  template <typename T>
  TensorView stage(const std::vector<T>& part);

  TensorView samples_;
  DeviceTensor buffer_;            // bytes
  std::vector<std::byte> staged_;  // of the batch that is being uploaded
};

}  // namespace trireme::worker
