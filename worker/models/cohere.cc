// Command R (Cohere) and Command R7B, Command A (Cohere 2): one norm feeds attention and MLP side
// by side. Command R+ norms each query and key head with weights of its own; Cohere 2 has layers
// that slide and rotate, and layers that see all and do not rotate.
//
// Source: Cohere, "Command A", arXiv:2504.00698, and the configurations of the releases.
#include "worker/layers/attention.h"
#include "worker/layers/head_norm.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

std::unique_ptr<QkNorm> qk_norm(PartLoader& in) {
  if (in.spec().qk_norm == plan::QkNorm::kNone) return nullptr;
  return std::make_unique<EveryHeadLayerNorm>(in, "self_attn.q_norm", "self_attn.k_norm");
}

struct CohereLayer {
  LayerNorm norm;
  Attention attention;
  GatedMlp mlp;

  explicit CohereLayer(PartLoader& in)
      : norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj"), qk_norm(in)),
        mlp(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"), mlp_output(in, "mlp.down_proj")) {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));
    pass.add(delta, x);
    TRY(mlp.forward(h, delta, pass));
    pass.add(delta, x);  // x += attention(norm(x)) + mlp(norm(x))
    return {};
  }
};

struct Cohere {
  using Layer = CohereLayer;
  using Norm = LayerNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_cohere(PartLoader& in) { return std::make_unique<Decoder<Cohere>>(in); }

}  // namespace trireme::worker
