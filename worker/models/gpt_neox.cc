// GPT-NeoX and Pythia: attention and MLP side by side, each behind a LayerNorm of its own; q, k and
// v of one head lie together in one tensor.
//
// Sources: Black et al., arXiv:2204.06745; Biderman et al., arXiv:2304.01373.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct GptNeoxLayer {
  LayerNorm attention_norm;
  Attention attention;
  LayerNorm mlp_norm;
  PlainMlp mlp;

  explicit GptNeoxLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, grouped_qkv(in, "attention.query_key_value"),
                  attention_output(in, "attention.dense")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, mlp_input(in, "mlp.dense_h_to_4h"), mlp_output(in, "mlp.dense_4h_to_h")) {
    for (const char* buffer : {"bias", "masked_bias", "rotary_emb.inv_freq"}) {
      in.ignore(std::string("attention.") + buffer);
    }
  }

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView attended = pass.normed();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, attended, pass));
    mlp_norm.forward(x, h, pass.context);
    TRY(mlp.forward(h, delta, pass));
    pass.add(attended, x);
    pass.add(delta, x);  // x += attention(norm(x)) + mlp(norm'(x))
    return {};
  }
};

struct GptNeox {
  using Layer = GptNeoxLayer;
  using Norm = LayerNorm;
  static constexpr DecoderNames kNames{.embedding = "gpt_neox.embed_in.weight",
                                       .layers = "gpt_neox.layers.",
                                       .final_norm = "gpt_neox.final_layer_norm",
                                       .head = "embed_out.weight"};
};

}  // namespace

std::unique_ptr<Model> make_gpt_neox(PartLoader& in) {
  return std::make_unique<Decoder<GptNeox>>(in);
}

}  // namespace trireme::worker
