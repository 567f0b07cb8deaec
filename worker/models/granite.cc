// Granite 3: a Llama with multipliers on embedding, scores, residual additions and logits. With
// experts they stand in one stack per matrix, and the weights are a softmax over the chosen.
//
// Source: Granite Team, IBM, "Granite 3.0 Language Models", 2024; the multipliers are those of Yang
// et al., "Tensor Programs V", arXiv:2203.03466.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

std::unique_ptr<FeedForward> mlp_or_experts(PartLoader& in) {
  if (in.layer_spec().moe) {
    return std::make_unique<Moe>(in, Router(in, "block_sparse_moe.router.layer"),
                                 stacked_experts(in, "block_sparse_moe.input_linear.weight",
                                                 "block_sparse_moe.output_linear.weight"));
  }
  return std::make_unique<GatedMlp>(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"),
                                    mlp_output(in, "mlp.down_proj"));
}

struct GraniteLayer : PreNormLayer<RmsNorm, Attention> {
  explicit GraniteLayer(PartLoader& in)
      : PreNormLayer{
            RmsNorm(in, "input_layernorm"),
            Attention(in,
                      separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      attention_output(in, "self_attn.o_proj")),
            RmsNorm(in, "post_attention_layernorm"), mlp_or_experts(in),
            in.spec().residual_scale} {}
};

struct Granite {
  using Layer = GraniteLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_granite(PartLoader& in) {
  return std::make_unique<Decoder<Granite>>(in);
}

}  // namespace trireme::worker
