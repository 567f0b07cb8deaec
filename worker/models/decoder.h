// Decoder<Family>: what all families have around their layers: embedding, final norm, head.
//
// A family is a struct:
//   using Layer = ...;  // Layer(PartLoader&), and as HandsOnItsNorm says, or else
//                       //   Status forward(const TensorView& x, Pass&) const
//   using Norm = ...;   // of the final norm, e.g. RmsNorm
//   static constexpr DecoderNames kNames = {...};
// The factors on embedding and logits are 1 where the spec says nothing of them.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/layers/norm.h"
#include "worker/layers/vocab_parallel.h"
#include "worker/models/model.h"

namespace trireme::worker {

// Tensor names around the layers; layer i's names start with "<layers><i>.".
struct DecoderNames {
  const char* embedding = "model.embed_tokens.weight";
  const char* positions = nullptr;  // a learned table, added to the embedding
  const char* layers = "model.layers.";
  const char* final_norm = "model.norm";
  const char* head = "lm_head.weight";
};

// A layer whose last piece of work can be followed by the first norm of the next layer:
//   const Norm& input_norm() const;
//   Status forward(const TensorView& x, const Norm* next, Pass&) const;
// pass.h() holds input_norm of x before; afterwards it holds `next` of x, where there is one. The
// last layer of a rank has none behind it: what leaves the rank is x.
template <typename Layer>
concept HandsOnItsNorm = requires(const Layer& layer) {
  layer.input_norm();
};

template <typename Family>
class Decoder final : public Model {
 public:
  explicit Decoder(PartLoader& in) : spec_(in.spec()), rank_(in.rank()) {
    constexpr DecoderNames kNames = Family::kNames;
    if (rank_.first_stage) embedding_ = VocabParallelEmbedding(in, kNames.embedding);
    if constexpr (kNames.positions != nullptr) {
      if (rank_.first_stage) positions_ = PositionEmbedding(in, kNames.positions);
    }
    for (int64_t i = rank_.layers.begin; i < rank_.layers.end; ++i) {
      PartLoader layer = in.layer(i, fmt::format("{}{}.", kNames.layers, i));
      layers_.emplace_back(layer);
    }
    // Some tied checkpoints store the head again; the embedding is what counts.
    if (spec_.tied_embeddings) in.weights().ignore(kNames.head);
    if (!rank_.last_stage) return;
    final_norm_ = typename Family::Norm(in, kNames.final_norm);
    head_ = VocabParallelHead(in, spec_.tied_embeddings ? kNames.embedding : kNames.head);
  }

  Status allocate(kernels::Backend& backend, int64_t max_step_tokens,
                  int64_t max_logits_rows) override {
    ASSIGN_OR_RETURN(buffers_,
                     Workspace::allocate(backend, spec_, rank_, max_step_tokens, max_logits_rows));
    return {};
  }

  Status embed(const Batch& batch, const TensorView& x, StepContext& context) override {
    TRY(embedding_.forward(batch.ids, x, context));
    if (Family::kNames.positions != nullptr) {
      const TensorView rows = buffers_.delta.view.rows(0, batch.n_tokens());
      positions_.add_to(x, batch.positions, rows, context);
    }
    if (spec_.embedding_scale != 1) {
      context.backend->scale({.x = x, .factor = spec_.embedding_scale}, context.stream);
    }
    return {};
  }

  Status run_layers(const Batch& batch, const KvCache& kv, const TensorView& x,
                    StepContext& context) override {
    Pass pass{.batch = batch, .kv = kv, .buffers = buffers_, .context = context};
    if constexpr (HandsOnItsNorm<typename Family::Layer>) {
      if (!layers_.empty()) layers_.front().input_norm().forward(x, pass.h(), context);
      for (size_t i = 0; i < layers_.size(); ++i) {
        const bool last = i + 1 == layers_.size();
        TRY(layers_[i].forward(x, last ? nullptr : &layers_[i + 1].input_norm(), pass));
      }
    } else {
      for (const typename Family::Layer& layer : layers_) TRY(layer.forward(x, pass));
    }
    return {};
  }

  TensorView expert_starts() const override { return buffers_.moe.expert_start.view; }

  void compute_logits(const TensorView& x, const TensorView& logits,
                      StepContext& context) override {
    const TensorView h = buffers_.h_logits.view.rows(0, x.dim(0));
    final_norm_.forward(x, h, context);
    head_.forward(h, logits, context);
    if (spec_.logit_scale != 1) {
      context.backend->scale({.x = logits, .factor = spec_.logit_scale}, context.stream);
    }
    if (spec_.logit_softcap > 0) {
      context.backend->softcap({.x = logits, .cap = spec_.logit_softcap}, context.stream);
    }
  }

 private:
  const plan::ModelSpec& spec_;
  const plan::RankPlan& rank_;
  VocabParallelEmbedding embedding_;
  PositionEmbedding positions_;
  std::vector<typename Family::Layer> layers_;
  typename Family::Norm final_norm_;
  VocabParallelHead head_;
  Workspace buffers_;
};

}  // namespace trireme::worker
