// Mixtral: a Mistral with experts for its MLP; each token meets two of them, weighted by a softmax
// over all that is divided by the sum of the two.
//
// Source: Jiang et al., "Mixtral of Experts", arXiv:2401.04088.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

struct MixtralLayer : PreNormLayer<RmsNorm, Attention> {
  explicit MixtralLayer(PartLoader& in)
      : PreNormLayer{
            RmsNorm(in, "input_layernorm"),
            Attention(in,
                      separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      attention_output(in, "self_attn.o_proj")),
            RmsNorm(in, "post_attention_layernorm"),
            std::make_unique<Moe>(
                in, Router(in, "block_sparse_moe.gate"),
                separate_experts(in, "block_sparse_moe.experts.", "w1", "w3", "w2"))} {}
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
