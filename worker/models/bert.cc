// BERT: an encoder. Learned positions and token types, plain MLP, biases everywhere, and a
// LayerNorm behind each block, so that the residual stream itself is normed.
//
// Every row sees all rows of its text; what the last layer leaves is pooled (worker/pooling.h).
// Source: Devlin et al., arXiv:1810.04805.
#include <fmt/format.h>

#include "base/check.h"
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/layers/norm.h"
#include "worker/layers/vocab_parallel.h"
#include "worker/models/model.h"

namespace trireme::worker {
namespace {

struct BertLayer {
  Attention attention;
  LayerNorm after_attention;
  PlainMlp mlp;
  LayerNorm after_mlp;

  explicit BertLayer(PartLoader& in)
      : attention(
            in,
            separate_qkv(in, "attention.self.query", "attention.self.key", "attention.self.value"),
            attention_output(in, "attention.output.dense")),
        after_attention(in, "attention.output.LayerNorm"),
        mlp(in, mlp_input(in, "intermediate.dense"), mlp_output(in, "output.dense")),
        after_mlp(in, "output.LayerNorm") {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView delta = pass.delta();
    TRY(attention.forward(x, delta, pass));
    pass.add(delta, x);
    after_attention.forward(x, x, pass.context);  // x = norm(x + attention(x))
    TRY(mlp.forward(x, delta, pass));
    pass.add(delta, x);
    after_mlp.forward(x, x, pass.context);  // x = norm(x + mlp(x))
    return {};
  }
};

class Bert final : public Model {
 public:
  explicit Bert(PartLoader& in) : spec_(in.spec()), rank_(in.rank()) {
    in.weights().optional_prefix("bert.");
    for (const char* unused : {"embeddings.position_ids", "embeddings.token_type_ids",
                               "pooler.dense.weight", "pooler.dense.bias"}) {
      in.ignore(unused);
    }
    if (rank_.first_stage) {
      embedding_ = VocabParallelEmbedding(in, "embeddings.word_embeddings.weight");
      positions_ = PositionEmbedding(in, "embeddings.position_embeddings.weight");
      const int64_t n_types = spec_.encoder->n_token_types;
      types_ = in.weights().table(
          in.rows("embeddings.token_type_embeddings.weight", n_types, spec_.hidden, {0, n_types}),
          n_types);
      embedding_norm_ = LayerNorm(in, "embeddings.LayerNorm");
    }
    for (int64_t i = rank_.layers.begin; i < rank_.layers.end; ++i) {
      PartLoader layer = in.layer(i, fmt::format("encoder.layer.{}.", i));
      layers_.emplace_back(layer);
    }
  }

  Status allocate(kernels::Backend& backend, int64_t max_step_tokens,
                  int64_t max_logits_rows) override {
    ASSIGN_OR_RETURN(buffers_,
                     Workspace::allocate(backend, spec_, rank_, max_step_tokens, max_logits_rows));
    ASSIGN_OR_RETURN(type_ids_, allocate_tensor(backend, DType::kI32, {max_step_tokens}));
    const std::vector<int32_t> zeros(static_cast<size_t>(max_step_tokens), 0);
    backend.copy_to_device(type_ids_.view.data, zeros.data(), zeros.size() * sizeof(int32_t), {});
    backend.synchronize({});
    return {};
  }

  Status embed(const Batch& batch, const TensorView& x, StepContext& context) override {
    TRY(embedding_.forward(batch.ids, x, context));
    const TensorView rows = buffers_.delta.view.rows(0, batch.n_tokens());
    positions_.add_to(x, batch.positions, rows, context);
    const TensorView types = type_ids_.view.rows(0, batch.n_tokens());
    context.backend->embedding({.ids = types, .table = types_.view, .first_id = 0, .out = rows},
                               context.stream);
    context.backend->add({.x = rows, .y = x}, context.stream);
    embedding_norm_.forward(x, x, context);
    return {};
  }

  Status run_layers(const Batch& batch, const KvCache& kv, const TensorView& x,
                    StepContext& context) override {
    Pass pass{.batch = batch, .kv = kv, .buffers = buffers_, .context = context};
    for (const BertLayer& layer : layers_) TRY(layer.forward(x, pass));
    return {};
  }

  TensorView expert_starts() const override { return {}; }

  void compute_logits(const TensorView&, const TensorView&, StepContext&) override {
    CHECK(false) << "an encoder has no logits; sequence_table.h lets no plan ask for them";
  }

 private:
  const plan::ModelSpec& spec_;
  const plan::RankPlan& rank_;
  VocabParallelEmbedding embedding_;
  PositionEmbedding positions_;
  DeviceTensor types_;     // [n_token_types, hidden]
  DeviceTensor type_ids_;  // [max_step_tokens] i32, zeros
  LayerNorm embedding_norm_;
  std::vector<BertLayer> layers_;
  Workspace buffers_;
};

}  // namespace

std::unique_ptr<Model> make_bert(PartLoader& in) { return std::make_unique<Bert>(in); }

}  // namespace trireme::worker
