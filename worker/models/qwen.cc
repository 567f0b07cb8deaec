// Qwen 3, dense and with experts, and Qwen 2 with experts (dense Qwen 2 computes as Llama does).
// Qwen 3 norms queries and keys head by head before they are rotated; Qwen 2 MoE has an MLP beside
// the experts that every token takes, scaled by a gate of its own. Of a mixture some layers may
// keep a dense MLP.
//
// Sources: Yang et al., "Qwen2 Technical Report", arXiv:2407.10671, sec. 2.2.2; Yang et al.,
// "Qwen3 Technical Report", arXiv:2505.09388.
#include "worker/layers/attention.h"
#include "worker/layers/head_norm.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

std::unique_ptr<QkNorm> qk_norm(PartLoader& in) {
  if (in.spec().qk_norm == plan::QkNorm::kNone) return nullptr;
  return std::make_unique<HeadRmsNorm>(in, "self_attn.q_norm", "self_attn.k_norm");
}

SharedExpert shared_mlp(PartLoader& in) {
  if (in.spec().moe->shared_width == 0) return {};
  return shared_expert(in,
                       gate_and_up(in, "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj",
                                   MlpWidth::kShared),
                       mlp_output(in, "mlp.shared_expert.down_proj", MlpWidth::kShared),
                       "mlp.shared_expert_gate");
}

std::unique_ptr<FeedForward> mlp_or_experts(PartLoader& in) {
  if (in.layer_spec().moe) {
    return std::make_unique<Moe>(
        in, Router(in, "mlp.gate"),
        separate_experts(in, "mlp.experts.", "gate_proj", "up_proj", "down_proj"), shared_mlp(in));
  }
  return std::make_unique<GatedMlp>(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"),
                                    mlp_output(in, "mlp.down_proj"));
}

struct QwenLayer : PreNormLayer<RmsNorm, Attention> {
  explicit QwenLayer(PartLoader& in)
      : PreNormLayer{
            RmsNorm(in, "input_layernorm"),
            Attention(in,
                      separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      attention_output(in, "self_attn.o_proj"), qk_norm(in)),
            RmsNorm(in, "post_attention_layernorm"), mlp_or_experts(in)} {}
};

struct Qwen {
  using Layer = QwenLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_qwen(PartLoader& in) { return std::make_unique<Decoder<Qwen>>(in); }

}  // namespace trireme::worker
