// Llama 1, 2, 3 and 3.x, and what computes as they do: Mistral (its layers slide), Qwen 2 (q, k and
// v have biases). Pre-norm decoder, rotary positions, grouped-query attention, gated MLP.
//
// Sources: Touvron et al., arXiv:2302.13971 and arXiv:2307.09288; Grattafiori et al.,
// arXiv:2407.21783; Jiang et al., arXiv:2310.06825; Yang et al., arXiv:2407.10671.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

struct LlamaLayer : PreNormLayer<RmsNorm, Attention> {
  explicit LlamaLayer(PartLoader& in)
      : PreNormLayer{
            RmsNorm(in, "input_layernorm"),
            Attention(in,
                      separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      attention_output(in, "self_attn.o_proj")),
            RmsNorm(in, "post_attention_layernorm"),
            std::make_unique<GatedMlp>(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"),
                                       mlp_output(in, "mlp.down_proj"))} {
    in.ignore("self_attn.rotary_emb.inv_freq");  // a buffer of older files
  }
};

struct Llama {
  using Layer = LlamaLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_llama(PartLoader& in) { return std::make_unique<Decoder<Llama>>(in); }

}  // namespace trireme::worker
