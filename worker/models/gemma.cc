// Gemma 1: a Llama with norms of weight 1 + w, embeddings scaled by sqrt(hidden), and tanh GELU.
//
// Source: Gemma Team, arXiv:2403.08295.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

struct GemmaLayer : PreNormLayer<OffsetRmsNorm, Attention> {
  explicit GemmaLayer(PartLoader& in)
      : PreNormLayer{
            OffsetRmsNorm(in, "input_layernorm"),
            Attention(in,
                      separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      attention_output(in, "self_attn.o_proj")),
            OffsetRmsNorm(in, "post_attention_layernorm"),
            std::make_unique<GatedMlp>(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"),
                                       mlp_output(in, "mlp.down_proj"))} {
    in.ignore("self_attn.rotary_emb.inv_freq");
  }
};

struct Gemma {
  using Layer = GemmaLayer;
  using Norm = OffsetRmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_gemma(PartLoader& in) { return std::make_unique<Decoder<Gemma>>(in); }

}  // namespace trireme::worker
