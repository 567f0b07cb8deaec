// DeepSeek-V2, V3 and R1, and what computes as they do (Kimi K2, Moonlight): latent attention, a
// dense MLP in the first layers, then experts chosen within groups, with a shared one besides.
// V3's checkpoints carry layers that predict further tokens, which are not computed.
//
// Sources: DeepSeek-AI, arXiv:2405.04434 and arXiv:2412.19437.
#include "worker/layers/latent_attention.h"
#include "worker/layers/mlp.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

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

struct DeepseekLayer : PreNormLayer<RmsNorm, LatentAttention> {
  explicit DeepseekLayer(PartLoader& in)
      : PreNormLayer{RmsNorm(in, "input_layernorm"), LatentAttention(in, "self_attn."),
                     RmsNorm(in, "post_attention_layernorm"), feed_forward(in)} {
    const plan::ModelSpec& spec = in.spec();
    for (int32_t i = 0; i < spec.n_predict_layers; ++i) {
      in.weights().ignore_prefix(fmt::format("model.layers.{}.", spec.n_layers() + i));
    }
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
