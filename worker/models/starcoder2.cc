// StarCoder 2: a pre-norm decoder with LayerNorms and biases, grouped queries, a plain MLP; all
// layers slide.
//
// Source: Lozhkov et al., arXiv:2402.19173.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct Starcoder2Layer {
  LayerNorm attention_norm;
  Attention attention;
  LayerNorm mlp_norm;
  PlainMlp mlp;

  explicit Starcoder2Layer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, mlp_input(in, "mlp.c_fc"), mlp_output(in, "mlp.c_proj")) {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));
    pass.add(delta, x);  // x += attention(norm(x))
    mlp_norm.forward(x, h, pass.context);
    TRY(mlp.forward(h, delta, pass));
    pass.add(delta, x);  // x += mlp(norm(x))
    return {};
  }
};

struct Starcoder2 {
  using Layer = Starcoder2Layer;
  using Norm = LayerNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_starcoder2(PartLoader& in) {
  return std::make_unique<Decoder<Starcoder2>>(in);
}

}  // namespace trireme::worker
