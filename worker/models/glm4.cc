// GLM-4-0414: norms before and behind each block; half of each head rotates; gate and up projection
// are one tensor.
//
// Source: Team GLM, arXiv:2406.12793, and the configuration of the 0414 release.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct Glm4Layer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm after_attention;
  RmsNorm mlp_norm;
  GatedMlp mlp;
  RmsNorm after_mlp;

  explicit Glm4Layer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        after_attention(in, "post_self_attn_layernorm"),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, fused_gate_up(in, "mlp.gate_up_proj"), mlp_output(in, "mlp.down_proj")),
        after_mlp(in, "post_mlp_layernorm") {}

  const RmsNorm& input_norm() const { return attention_norm; }

  Status forward(const TensorView& x, const RmsNorm* next, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    const TensorView normed = pass.normed();
    TRY(attention.forward(h, delta, pass));
    after_attention.forward(delta, normed, pass.context);  // x += norm(attention(norm(x)))
    mlp_norm.add_and_forward(x, normed, h, pass.context);
    TRY(mlp.forward(h, delta, pass));
    after_mlp.forward(delta, normed, pass.context);  // x += norm(mlp(norm(x)))
    if (next != nullptr) {
      next->add_and_forward(x, normed, h, pass.context);
    } else {
      pass.add(normed, x);
    }
    return {};
  }
};

struct Glm4 {
  using Layer = Glm4Layer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_glm4(PartLoader& in) { return std::make_unique<Decoder<Glm4>>(in); }

}  // namespace trireme::worker
