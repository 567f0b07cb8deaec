// Phi-3, 3.5 and 4: a Llama whose q, k and v are one tensor, as are gate and up; long contexts
// rotate by factors per channel pair (longrope).
//
// Source: Abdin et al., arXiv:2404.14219.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct Phi3Layer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm mlp_norm;
  GatedMlp mlp;

  explicit Phi3Layer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, fused_qkv(in, "self_attn.qkv_proj"),
                  attention_output(in, "self_attn.o_proj")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, fused_gate_up(in, "mlp.gate_up_proj"), mlp_output(in, "mlp.down_proj")) {}

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

struct Phi3 {
  using Layer = Phi3Layer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_phi3(PartLoader& in) { return std::make_unique<Decoder<Phi3>>(in); }

}  // namespace trireme::worker
