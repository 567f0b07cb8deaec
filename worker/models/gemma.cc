// Gemma 1: a Llama with norms of weight 1 + w, embeddings scaled by sqrt(hidden), and tanh GELU.
//
// Source: Gemma Team, arXiv:2403.08295.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct GemmaLayer {
  OffsetRmsNorm attention_norm;
  Attention attention;
  OffsetRmsNorm mlp_norm;
  GatedMlp mlp;

  explicit GemmaLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"), mlp_output(in, "mlp.down_proj")) {
    in.ignore("self_attn.rotary_emb.inv_freq");
  }

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));  // x += attention(norm(x))
    mlp_norm.add_and_forward(x, delta, h, pass.context);
    TRY(mlp.forward(h, delta, pass));  // x += mlp(norm(x))
    pass.add(delta, x);
    return {};
  }
};

struct Gemma {
  using Layer = GemmaLayer;
  using Norm = OffsetRmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_gemma(PartLoader& in) { return std::make_unique<Decoder<Gemma>>(in); }

}  // namespace trireme::worker
