// Phi-3, 3.5 and 4: a Llama whose q, k and v are one tensor, as are gate and up; long contexts
// rotate by factors per channel pair (longrope).
//
// Source: Abdin et al., arXiv:2404.14219.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

struct Phi3Layer : PreNormLayer<RmsNorm, Attention> {
  explicit Phi3Layer(PartLoader& in)
      : PreNormLayer{RmsNorm(in, "input_layernorm"),
                     Attention(in, fused_qkv(in, "self_attn.qkv_proj"),
                               attention_output(in, "self_attn.o_proj")),
                     RmsNorm(in, "post_attention_layernorm"),
                     std::make_unique<GatedMlp>(in, fused_gate_up(in, "mlp.gate_up_proj"),
                                                mlp_output(in, "mlp.down_proj"))} {}
};

struct Phi3 {
  using Layer = Phi3Layer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_phi3(PartLoader& in) { return std::make_unique<Decoder<Phi3>>(in); }

}  // namespace trireme::worker
