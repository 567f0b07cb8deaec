// Mixtral: a Mistral with experts for its MLP; each token meets two of them, weighted by a softmax
// over all that is divided by the sum of the two.
//
// Source: Jiang et al., "Mixtral of Experts", arXiv:2401.04088.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct MixtralLayer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm experts_norm;
  Moe experts;

  explicit MixtralLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        experts_norm(in, "post_attention_layernorm"),
        experts(in, Router(in, "block_sparse_moe.gate"),
                separate_experts(in, "block_sparse_moe.experts.", "w1", "w3", "w2")) {}

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));  // x += attention(norm(x))
    experts_norm.add_and_forward(x, delta, h, pass.context);
    TRY(experts.forward(h, delta, pass));  // x += experts(norm(x))
    pass.add(delta, x);
    return {};
  }
};

struct Mixtral {
  using Layer = MixtralLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_mixtral(PartLoader& in) {
  return std::make_unique<Decoder<Mixtral>>(in);
}

}  // namespace trireme::worker
