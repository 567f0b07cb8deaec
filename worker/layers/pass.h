// Batch and Pass: one step's rows, and what the layers share on their way through a rank.
//
// Both live for one step on the rank's thread and own nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "worker/kv/kv_cache.h"
#include "worker/layers/step_context.h"
#include "worker/layers/workspace.h"

namespace trireme::worker {

// Where the rows of a step find and leave their keys and values, for one group of layers.
struct KvTable {
  TensorView slots;        // [n_tokens] i64, where each row's key and value go
  TensorView block_table;  // [n_seqs, max_blocks] i32; 0 where no row of the step sees a key
};

// One step's rows, on the device. Sequence s owns rows [query_start[s], query_start[s + 1]).
struct Batch {
  TensorView ids;          // [n_tokens] i32
  TensorView positions;    // [n_tokens] i32
  TensorView query_start;  // [n_seqs + 1] i32
  TensorView context_len;  // [n_seqs] i32
  TensorView rope_sets;  // [n_tokens] i32, which frequencies rotate a row; undefined: the only ones
  std::vector<KvTable> kv_groups;  // as KvLayout::groups

  int64_t n_tokens() const { return positions.dim(0); }
  const KvTable& kv_table(int group) const { return kv_groups.at(static_cast<size_t>(group)); }
};

struct Pass {
  const Batch& batch;
  const KvCache& kv;
  const Workspace& buffers;
  StepContext& context;

  kernels::Backend& ops() const { return *context.backend; }
  kernels::Stream stream() const { return context.stream; }
  int64_t n_tokens() const { return batch.n_tokens(); }

  // The normed input of a block, [n_tokens, hidden] in the compute type.
  TensorView h() const { return buffers.h.view.rows(0, n_tokens()); }
  // What a block adds to the residual stream, [n_tokens, hidden] f32.
  TensorView delta() const { return buffers.delta.view.rows(0, n_tokens()); }
  // A second such buffer, [n_tokens, hidden] f32: a block's output behind its norm.
  TensorView normed() const { return buffers.normed.view.rows(0, n_tokens()); }
  // The residual sum: x += scale * delta.
  void add(const TensorView& delta, const TensorView& x, float scale = 1) const {
    ops().add({.x = delta, .y = x, .scale = scale}, stream());
  }
};

}  // namespace trireme::worker
