// Llama 1, 2, 3 and 3.x, and what computes as they do: Mistral (its layers slide), Qwen 2 (q, k and
// v have biases). Pre-norm decoder, rotary positions, grouped-query attention, gated MLP.
//
// Sources: Touvron et al., arXiv:2302.13971 and arXiv:2307.09288; Grattafiori et al.,
// arXiv:2407.21783; Jiang et al., arXiv:2310.06825; Yang et al., arXiv:2407.10671.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct LlamaLayer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm mlp_norm;
  GatedMlp mlp;

  explicit LlamaLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj")),
        mlp_norm(in, "post_attention_layernorm"),
        mlp(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"), mlp_output(in, "mlp.down_proj")) {
    in.ignore("self_attn.rotary_emb.inv_freq");  // a buffer of older files
  }

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));               // x += attention(norm(x))
    mlp_norm.add_and_forward(x, delta, h, pass.context);  // the sum is taken with the next norm
    TRY(mlp.forward(h, delta, pass));                     // x += mlp(norm(x))
    pass.add(delta, x);
    return {};
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
