// DeepSeek-V2, V3 and R1, and what computes as they do (Kimi K2, Moonlight): latent attention, a
// dense MLP in the first layers, then experts chosen within groups, with a shared one besides.
// V3's checkpoints carry layers that predict further tokens, which are not computed.
//
// Sources: DeepSeek-AI, arXiv:2405.04434 and arXiv:2412.19437.
#include "worker/layers/latent_attention.h"
#include "worker/layers/mlp.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

std::unique_ptr<FeedForward> feed_forward(PartLoader& in) {
  if (!in.layer_spec().moe) {
    return std::make_unique<GatedMlp>(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"),
                                      mlp_output(in, "mlp.down_proj"));
  }
  SharedExpert shared;
  if (in.spec().moe->shared_width > 0) {
    shared = shared_expert(in,
                           gate_and_up(in, "mlp.shared_experts.gate_proj",
                                       "mlp.shared_experts.up_proj", MlpWidth::kShared),
                           mlp_output(in, "mlp.shared_experts.down_proj", MlpWidth::kShared));
  }
  return std::make_unique<Moe>(
      in, Router(in, "mlp.gate", "mlp.gate.e_score_correction_bias"),
      separate_experts(in, "mlp.experts.", "gate_proj", "up_proj", "down_proj"), std::move(shared));
}

struct DeepseekLayer {
  RmsNorm attention_norm;
  LatentAttention attention;
  RmsNorm mlp_norm;
  std::unique_ptr<FeedForward> mlp;

  explicit DeepseekLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, "self_attn."),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(feed_forward(in)) {
    const plan::ModelSpec& spec = in.spec();
    for (int32_t i = 0; i < spec.n_predict_layers; ++i) {
      in.weights().ignore_prefix(fmt::format("model.layers.{}.", spec.n_layers() + i));
    }
  }

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));               // x += attention(norm(x))
    mlp_norm.add_and_forward(x, delta, h, pass.context);  // the sum is taken with the next norm
    TRY(mlp->forward(h, delta, pass));                    // x += mlp(norm(x))
    pass.add(delta, x);
    return {};
  }
};

struct Deepseek {
  using Layer = DeepseekLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_deepseek(PartLoader& in) {
  return std::make_unique<Decoder<Deepseek>>(in);
}

}  // namespace trireme::worker
