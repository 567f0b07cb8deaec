// Model: the computation of one model family over a rank's layers, written against layers and ops.
//
// A model knows no rank, no device and no request: it sees a batch of rows and where their keys and
// values live. It is built in two steps: made from a loader, it asks for its weights (which a
// declaring loader only writes down); `allocate` gives it the buffers to compute in. Families are
// listed in registry.cc, by ModelSpec::family. Used by the rank's thread.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "worker/kv/kv_cache.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/pass.h"
#include "worker/layers/step_context.h"

namespace trireme::worker {

class Model {
 public:
  virtual ~Model() = default;

  // Once, before the first step, on a model whose weights were loaded.
  virtual Status allocate(kernels::Backend& backend, int64_t max_step_tokens,
                          int64_t max_logits_rows) = 0;

  // First stage: ids -> x [n_tokens, hidden] f32.
  virtual Status embed(const Batch& batch, const TensorView& x, StepContext& context) = 0;
  // This rank's layers, on the residual stream x [n_tokens, hidden] f32, in place.
  virtual Status run_layers(const Batch& batch, const KvCache& kv, const TensorView& x,
                            StepContext& context) = 0;
  // After run_layers: for each of this rank's layers with experts the first row of each expert, and
  // the end, [n_layers, n_experts + 1] i32. Undefined where the model has no experts.
  virtual TensorView expert_starts() const = 0;
  // Last stage of a decoder: the rows of x that need logits, x [n_rows, hidden] f32 -> logits
  // [n_rows, vocab_padded] f32, this rank's slice of the vocabulary.
  virtual void compute_logits(const TensorView& x, const TensorView& logits,
                              StepContext& context) = 0;
};

// The model of the loader's spec. unimplemented names a family that this build does not have; else
// the error of the loader.
Result<std::unique_ptr<Model>> make_model(PartLoader& in);

// The families, one function per file.
std::unique_ptr<Model> make_bert(PartLoader& in);
std::unique_ptr<Model> make_cohere(PartLoader& in);
std::unique_ptr<Model> make_deepseek(PartLoader& in);
std::unique_ptr<Model> make_falcon(PartLoader& in);
std::unique_ptr<Model> make_gemma(PartLoader& in);
std::unique_ptr<Model> make_gemma2(PartLoader& in);
std::unique_ptr<Model> make_glm4(PartLoader& in);
std::unique_ptr<Model> make_gpt2(PartLoader& in);
std::unique_ptr<Model> make_gpt_neox(PartLoader& in);
std::unique_ptr<Model> make_gpt_oss(PartLoader& in);
std::unique_ptr<Model> make_granite(PartLoader& in);
std::unique_ptr<Model> make_grok1(PartLoader& in);
std::unique_ptr<Model> make_grok1_release(PartLoader& in);
std::unique_ptr<Model> make_llama(PartLoader& in);
std::unique_ptr<Model> make_llama4(PartLoader& in);
std::unique_ptr<Model> make_mixtral(PartLoader& in);
std::unique_ptr<Model> make_olmo2(PartLoader& in);
std::unique_ptr<Model> make_phi3(PartLoader& in);
std::unique_ptr<Model> make_qwen(PartLoader& in);
std::unique_ptr<Model> make_starcoder2(PartLoader& in);

}  // namespace trireme::worker
