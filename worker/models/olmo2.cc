// OLMo 2: blocks read the residual stream as it is, and their outputs are normed; queries and keys
// are normed over the whole projection.
//
// Source: OLMo Team, arXiv:2501.00656.
#include "worker/layers/attention.h"
#include "worker/layers/head_norm.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct Olmo2Layer {
  Attention attention;
  RmsNorm after_attention;
  GatedMlp mlp;
  RmsNorm after_mlp;

  explicit Olmo2Layer(PartLoader& in)
      : attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj"),
                  std::make_unique<ProjectionRmsNorm>(in, "self_attn.q_norm", "self_attn.k_norm")),
        after_attention(in, "post_attention_layernorm"),
        mlp(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"), mlp_output(in, "mlp.down_proj")),
        after_mlp(in, "post_feedforward_layernorm") {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView delta = pass.delta();
    const TensorView normed = pass.normed();
    TRY(attention.forward(x, delta, pass));
    after_attention.forward(delta, normed, pass.context);
    pass.add(normed, x);  // x += norm(attention(x))
    TRY(mlp.forward(x, delta, pass));
    after_mlp.forward(delta, normed, pass.context);
    pass.add(normed, x);  // x += norm(mlp(x))
    return {};
  }
};

struct Olmo2 {
  using Layer = Olmo2Layer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_olmo2(PartLoader& in) { return std::make_unique<Decoder<Olmo2>>(in); }

}  // namespace trireme::worker
