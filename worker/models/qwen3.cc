// Qwen 3, dense: a Llama whose queries and keys are normed head by head before they are rotated.
//
// Source: Yang et al., "Qwen3 Technical Report", arXiv:2505.09388.
#include "worker/layers/attention.h"
#include "worker/layers/head_norm.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct Qwen3Layer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm mlp_norm;
  GatedMlp mlp;

  explicit Qwen3Layer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj"),
                  std::make_unique<HeadRmsNorm>(in, "self_attn.q_norm", "self_attn.k_norm")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"), mlp_output(in, "mlp.down_proj")) {}

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

struct Qwen3 {
  using Layer = Qwen3Layer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_qwen3(PartLoader& in) { return std::make_unique<Decoder<Qwen3>>(in); }

}  // namespace trireme::worker
