// The layers around the decoder's: the two that touch the vocabulary, cut over the tensor-parallel
// group in equal slices padded with zero rows, and learned positions.
//
// Immutable after loading; used by the rank's thread.
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/step_context.h"

namespace trireme::worker {

class VocabParallelEmbedding {
 public:
  VocabParallelEmbedding() = default;
  VocabParallelEmbedding(PartLoader& in, const std::string& name);

  // ids [n_tokens] i32 -> out [n_tokens, hidden] f32, the same on every rank of the group.
  Status forward(const TensorView& ids, const TensorView& out, StepContext& context) const;

 private:
  DeviceTensor table_;  // [vocab_padded, hidden]
  int32_t first_id_ = 0;
  comm::Group* tp_ = nullptr;
};

// A learned row per position, whole on every rank of the first stage.
class PositionEmbedding {
 public:
  PositionEmbedding() = default;
  PositionEmbedding(PartLoader& in, const std::string& name);

  // x += table[positions]. positions [n_tokens] i32; x and the scratch `rows` [n_tokens, hidden]
  // f32.
  void add_to(const TensorView& x, const TensorView& positions, const TensorView& rows,
              StepContext& context) const;

 private:
  DeviceTensor table_;  // [n_position_rows, hidden]
};

class VocabParallelHead {
 public:
  VocabParallelHead() = default;
  VocabParallelHead(PartLoader& in, const std::string& name);

  // x [n_rows, hidden] -> logits [n_rows, vocab_padded] f32 of this rank's slice. Columns at or
  // beyond the slice's true size belong to padding rows; the sampler never looks at them.
  void forward(const TensorView& x, const TensorView& logits, StepContext& context) const;

 private:
  std::unique_ptr<kernels::PackedWeight> weight_;
};

}  // namespace trireme::worker
