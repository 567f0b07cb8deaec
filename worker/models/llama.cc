// Llama 1, 2, 3 and 3.x: pre-norm decoder, rotary positions, grouped-query attention, gated MLP.
//
// Sources: Touvron et al., arXiv:2302.13971 and arXiv:2307.09288; Dubey et al., arXiv:2407.21783.
#include <fmt/format.h>

#include <cmath>

#include "worker/layers/linear.h"
#include "worker/layers/rms_norm.h"
#include "worker/layers/vocab_parallel.h"
#include "worker/models/model.h"

namespace trireme::worker {
namespace {

struct LlamaLayer {
  RmsNorm attention_norm;
  ColumnParallelLinear qkv;
  RowParallelLinear o;
  RmsNorm mlp_norm;
  ColumnParallelLinear gate_up;
  RowParallelLinear down;

  static Result<LlamaLayer> load(const ModelInputs& in, int64_t index) {
    const plan::ModelSpec& spec = in.spec;
    const std::string prefix = fmt::format("model.layers.{}.", index);
    const auto name = [&](const char* part) { return prefix + part; };
    LlamaLayer layer;
    ASSIGN_OR_RETURN(layer.attention_norm,
                     RmsNorm::load(in.weights, name("input_layernorm.weight"), spec.rms_eps));
    ASSIGN_OR_RETURN(layer.qkv,
                     ColumnParallelLinear::load(in.weights,
                                                {name("self_attn.q_proj"), name("self_attn.k_proj"),
                                                 name("self_attn.v_proj")},
                                                spec.attention_bias));
    ASSIGN_OR_RETURN(layer.o, RowParallelLinear::load(
                                  in.weights, name("self_attn.o_proj"), spec.attention_bias, in.tp,
                                  fmt::format("layer {} attention all_reduce", index)));
    ASSIGN_OR_RETURN(
        layer.mlp_norm,
        RmsNorm::load(in.weights, name("post_attention_layernorm.weight"), spec.rms_eps));
    ASSIGN_OR_RETURN(layer.gate_up,
                     ColumnParallelLinear::load(
                         in.weights, {name("mlp.gate_proj"), name("mlp.up_proj")}, spec.mlp_bias));
    ASSIGN_OR_RETURN(
        layer.down, RowParallelLinear::load(in.weights, name("mlp.down_proj"), spec.mlp_bias, in.tp,
                                            fmt::format("layer {} mlp all_reduce", index)));
    return layer;
  }
};

// The buffers between ops, one set for all layers. h, attended and activated are inputs of linears,
// and so have the compute type; sums stay in f32.
struct Activations {
  DeviceTensor h;          // [max_tokens, hidden]
  DeviceTensor qkv;        // [max_tokens, (n_heads + 2 n_kv_heads) * head_dim] f32
  DeviceTensor attended;   // [max_tokens, n_heads * head_dim]
  DeviceTensor gate_up;    // [max_tokens, 2 * intermediate] f32
  DeviceTensor activated;  // [max_tokens, intermediate]
  DeviceTensor delta;      // [max_tokens, hidden] f32, what a block adds to the residual stream
  DeviceTensor h_logits;   // [max_logits_rows, hidden]
  DeviceTensor inv_freq;   // [rotary_dim / 2] f32
};

class Llama final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(const ModelInputs& in) {
    std::unique_ptr<Llama> model(new Llama(in));
    if (in.rank.first_stage) {
      ASSIGN_OR_RETURN(
          model->embedding_,
          VocabParallelEmbedding::load(in.weights, "model.embed_tokens.weight", in.rank, in.tp));
    }
    for (int64_t i = in.rank.layers.begin; i < in.rank.layers.end; ++i) {
      ASSIGN_OR_RETURN(LlamaLayer layer, LlamaLayer::load(in, i));
      model->layers_.push_back(std::move(layer));
    }
    if (in.rank.last_stage) {
      ASSIGN_OR_RETURN(model->final_norm_,
                       RmsNorm::load(in.weights, "model.norm.weight", in.spec.rms_eps));
      const char* head = in.spec.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
      ASSIGN_OR_RETURN(model->head_, VocabParallelHead::load(in.weights, head, in.rank));
    }
    TRY(model->allocate_activations(in));
    return std::unique_ptr<Model>(std::move(model));
  }

  Status embed(const Batch& batch, const TensorView& x, StepContext& context) override {
    return embedding_.forward(batch.ids, x, context);
  }

  Status run_layers(const Batch& batch, const KvCache& kv, const TensorView& x,
                    StepContext& context) override {
    const int64_t n = batch.n_tokens();
    const TensorView h = activations_.h.view.rows(0, n);
    const TensorView delta = activations_.delta.view.rows(0, n);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const LlamaLayer& layer = layers_[i];
      // x += attention(norm(x))
      layer.attention_norm.forward(x, h, context);
      TRY(attention(layer, batch, kv.layer(static_cast<int64_t>(i)), h, delta, context));
      // x += mlp(norm(x)); the sum of the attention block is taken with the norm.
      layer.mlp_norm.add_and_forward(x, delta, h, context);
      TRY(mlp(layer, h, delta, context));
      context.backend->add({.x = delta, .y = x}, context.stream);
    }
    return {};
  }

  void compute_logits(const TensorView& x, const TensorView& logits,
                      StepContext& context) override {
    const TensorView h = activations_.h_logits.view.rows(0, x.dim(0));
    final_norm_.forward(x, h, context);
    head_.forward(h, logits, context);
  }

 private:
  explicit Llama(const ModelInputs& in)
      : n_heads_(in.rank.heads.size()),
        n_kv_heads_(in.rank.kv_heads.size()),
        head_dim_(in.spec.head_dim) {}

  Status attention(const LlamaLayer& layer, const Batch& batch, const LayerKv& kv,
                   const TensorView& h, const TensorView& out, StepContext& context) {
    const int64_t n = batch.n_tokens();
    const int64_t q_width = n_heads_ * head_dim_;
    const int64_t kv_width = n_kv_heads_ * head_dim_;
    const TensorView qkv = activations_.qkv.view.rows(0, n);
    layer.qkv.forward(h, qkv, context);
    const TensorView q = qkv.columns(0, q_width).split_columns(n_heads_, head_dim_);
    const TensorView k =
        qkv.columns(q_width, q_width + kv_width).split_columns(n_kv_heads_, head_dim_);
    const TensorView v = qkv.columns(q_width + kv_width, q_width + 2 * kv_width)
                             .split_columns(n_kv_heads_, head_dim_);

    context.backend->rope(
        {.q = q, .k = k, .positions = batch.positions, .inv_freq = activations_.inv_freq.view},
        context.stream);
    context.backend->kv_append(
        {.k = k, .v = v, .slots = batch.slots, .k_cache = kv.k, .v_cache = kv.v}, context.stream);
    const TensorView attended = activations_.attended.view.rows(0, n);
    context.backend->paged_attention({.q = q,
                                      .k_cache = kv.k,
                                      .v_cache = kv.v,
                                      .block_table = batch.block_table,
                                      .query_start = batch.query_start,
                                      .context_len = batch.context_len,
                                      .scale = 1.0f / std::sqrt(static_cast<float>(head_dim_)),
                                      .out = attended.split_columns(n_heads_, head_dim_)},
                                     context.stream);
    return layer.o.forward(attended, out, context);
  }

  Status mlp(const LlamaLayer& layer, const TensorView& h, const TensorView& out,
             StepContext& context) {
    const TensorView gate_up = activations_.gate_up.view.rows(0, h.dim(0));
    const TensorView activated = activations_.activated.view.rows(0, h.dim(0));
    layer.gate_up.forward(h, gate_up, context);
    context.backend->gated_activation({.gate_up = gate_up, .out = activated}, context.stream);
    return layer.down.forward(activated, out, context);
  }

  Status allocate_activations(const ModelInputs& in) {
    kernels::Backend& backend = in.weights.backend();
    const DType compute =
        backend.compute_dtype() == kernels::ComputeDType::kBF16 ? DType::kBF16 : DType::kF32;
    const int64_t n = in.max_step_tokens;
    const int64_t hidden = in.spec.hidden;
    const int64_t width = in.rank.intermediate.size();
    const auto make = [&](DeviceTensor& tensor, DType dtype, int64_t rows,
                          int64_t columns) -> Status {
      ASSIGN_OR_RETURN(tensor, allocate_tensor(backend, dtype, {rows, columns}));
      return {};
    };
    TRY(make(activations_.h, compute, n, hidden));
    TRY(make(activations_.qkv, DType::kF32, n, (n_heads_ + 2 * n_kv_heads_) * head_dim_));
    TRY(make(activations_.attended, compute, n, n_heads_ * head_dim_));
    TRY(make(activations_.gate_up, DType::kF32, n, 2 * width));
    TRY(make(activations_.activated, compute, n, width));
    TRY(make(activations_.delta, DType::kF32, n, hidden));
    if (in.rank.last_stage) TRY(make(activations_.h_logits, compute, in.max_logits_rows, hidden));

    const std::vector<float> inv_freq = in.spec.rope.inv_freq();
    ASSIGN_OR_RETURN(
        activations_.inv_freq,
        allocate_tensor(backend, DType::kF32, {static_cast<int64_t>(inv_freq.size())}));
    backend.copy_to_device(activations_.inv_freq.view.data, inv_freq.data(),
                           inv_freq.size() * sizeof(float), {});
    backend.synchronize({});
    return {};
  }

  int64_t n_heads_;     // of this rank
  int64_t n_kv_heads_;  // of this rank
  int64_t head_dim_;
  VocabParallelEmbedding embedding_;
  std::vector<LlamaLayer> layers_;
  RmsNorm final_norm_;
  VocabParallelHead head_;
  Activations activations_;
};

}  // namespace

Result<std::unique_ptr<Model>> make_llama(const ModelInputs& inputs) { return Llama::load(inputs); }

}  // namespace trireme::worker
