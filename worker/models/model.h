// Model: the computation of one model family over a rank's layers, written against layers and ops.
//
// A model knows no rank, no device and no request: it sees a batch of rows and where their keys and
// values live. Families are listed in registry.cc, by ModelSpec::family. Used by the rank's thread.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "worker/kv/kv_cache.h"
#include "worker/layers/step_context.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

// One step's rows, on the device. Sequence s owns rows [query_start[s], query_start[s + 1]).
struct Batch {
  TensorView ids;          // [n_tokens] i32
  TensorView positions;    // [n_tokens] i32
  TensorView slots;        // [n_tokens] i64, where each row's key and value go
  TensorView block_table;  // [n_seqs, max_blocks] i32
  TensorView query_start;  // [n_seqs + 1] i32
  TensorView context_len;  // [n_seqs] i32

  int64_t n_tokens() const { return positions.dim(0); }
};

class Model {
 public:
  virtual ~Model() = default;

  // First stage: ids -> x [n_tokens, hidden] f32.
  virtual Status embed(const Batch& batch, const TensorView& x, StepContext& context) = 0;
  // This rank's layers, on the residual stream x [n_tokens, hidden] f32, in place.
  virtual Status run_layers(const Batch& batch, const KvCache& kv, const TensorView& x,
                            StepContext& context) = 0;
  // Last stage: the rows of x that need logits, x [n_rows, hidden] f32 -> logits [n_rows,
  // vocab_padded] f32, this rank's slice of the vocabulary.
  virtual void compute_logits(const TensorView& x, const TensorView& logits,
                              StepContext& context) = 0;
};

// What a model is built from. Everything referred to outlives the model.
struct ModelInputs {
  const plan::ModelSpec& spec;
  const plan::RankPlan& rank;
  ShardLoader& weights;
  comm::Group& tp;
  int64_t max_step_tokens = 0;  // rows of the activation buffers, allocated here once
  int64_t max_logits_rows = 0;
};

// unimplemented names a family that this build does not have.
Result<std::unique_ptr<Model>> make_model(const ModelInputs& inputs);

// The families, one function per file.
Result<std::unique_ptr<Model>> make_llama(const ModelInputs& inputs);

}  // namespace trireme::worker
