// Llama 4, the text part: three layers of four rotate and see their own chunk of positions, with
// normed queries and keys; the fourth neither rotates nor ends a chunk, and its queries grow with
// the position. Experts, every layer or every second, beside an MLP that all tokens take; a token
// meets one, whose sigmoid score multiplies its input.
//
// Source: Meta AI, "The Llama 4 herd", 2025.
#include "worker/layers/attention.h"
#include "worker/layers/head_norm.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

// The reference norms heads behind their rotation, which does not change their length: it is the
// same before.
std::unique_ptr<QkNorm> qk_norm(PartLoader& in) {
  if (in.layer_spec().rope < 0) return std::make_unique<QueryTemperature>(in);
  if (in.spec().qk_norm == plan::QkNorm::kNone) return nullptr;
  return std::make_unique<UnweightedHeadNorm>(in);
}

std::unique_ptr<FeedForward> mlp_or_experts(PartLoader& in) {
  if (!in.layer_spec().moe) {
    return std::make_unique<GatedMlp>(
        in, gate_and_up(in, "feed_forward.gate_proj", "feed_forward.up_proj"),
        mlp_output(in, "feed_forward.down_proj"));
  }
  constexpr MlpWidth kShared = MlpWidth::kShared;
  return std::make_unique<Moe>(
      in, Router(in, "feed_forward.router"),
      transposed_experts(in, "feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj",
                         GateUpColumns::kGateFirst),
      shared_expert(in,
                    gate_and_up(in, "feed_forward.shared_expert.gate_proj",
                                "feed_forward.shared_expert.up_proj", kShared),
                    mlp_output(in, "feed_forward.shared_expert.down_proj", kShared)));
}

struct Llama4Layer : PreNormLayer<RmsNorm, Attention> {
  explicit Llama4Layer(PartLoader& in)
      : PreNormLayer{
            RmsNorm(in, "input_layernorm"),
            Attention(in,
                      separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      attention_output(in, "self_attn.o_proj"), qk_norm(in)),
            RmsNorm(in, "post_attention_layernorm"), mlp_or_experts(in)} {
    // Multimodal checkpoints: the text part is this one, and images are not served.
    in.weights().optional_prefix("language_model.");
    in.weights().ignore_prefix("vision_model.");
    in.weights().ignore_prefix("multi_modal_projector.");
  }
};

struct Llama4 {
  using Layer = Llama4Layer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_llama4(PartLoader& in) { return std::make_unique<Decoder<Llama4>>(in); }

}  // namespace trireme::worker
