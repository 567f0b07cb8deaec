// Granite 3 with experts: a Granite whose MLP is many small experts, kept in one stack per matrix;
// the weights are a softmax over the chosen.
//
// Source: Granite Team, IBM, "Granite 3.0 Language Models", 2024.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct GraniteMoeLayer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm experts_norm;
  Moe experts;
  float residual_scale;

  explicit GraniteMoeLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        experts_norm(in, "post_attention_layernorm"),
        experts(in, Router(in, "block_sparse_moe.router.layer"),
                stacked_experts(in, "block_sparse_moe.input_linear.weight",
                                "block_sparse_moe.output_linear.weight")),
        residual_scale(in.spec().residual_scale) {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));  // x += r * attention(norm(x))
    experts_norm.add_and_forward(x, delta, h, pass.context, residual_scale);
    TRY(experts.forward(h, delta, pass));  // x += r * experts(norm(x))
    pass.add(delta, x, residual_scale);
    return {};
  }
};

struct GraniteMoe {
  using Layer = GraniteMoeLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_granitemoe(PartLoader& in) {
  return std::make_unique<Decoder<GraniteMoe>>(in);
}

}  // namespace trireme::worker
