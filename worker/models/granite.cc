// Granite 3: a Llama with multipliers on embedding, scores, residual additions and logits. With
// experts they stand in one stack per matrix, and the weights are a softmax over the chosen.
//
// Source: Granite Team, IBM, "Granite 3.0 Language Models", 2024; the multipliers are those of Yang
// et al., "Tensor Programs V", arXiv:2203.03466.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"

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

struct GraniteLayer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm mlp_norm;
  std::unique_ptr<FeedForward> mlp;
  float residual_scale;

  explicit GraniteLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(mlp_or_experts(in)),
        residual_scale(in.spec().residual_scale) {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));  // x += r * attention(norm(x))
    mlp_norm.add_and_forward(x, delta, h, pass.context, residual_scale);
    TRY(mlp->forward(h, delta, pass));  // x += r * mlp(norm(x)), or experts(norm(x))
    pass.add(delta, x, residual_scale);
    return {};
  }
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
