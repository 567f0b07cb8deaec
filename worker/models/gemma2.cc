// Gemma 2 and 3: norms before and behind each block, layers that slide among layers that see all.
// Gemma 2 caps scores and logits; Gemma 3 norms queries and keys, and its sliding layers rotate by
// a base of their own.
//
// Sources: Gemma Team, arXiv:2408.00118 and arXiv:2503.19786.
#include "worker/layers/attention.h"
#include "worker/layers/head_norm.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

std::unique_ptr<QkNorm> qk_norm(PartLoader& in) {
  if (in.spec().qk_norm == plan::QkNorm::kNone) return nullptr;
  return std::make_unique<HeadRmsNorm>(in, "self_attn.q_norm", "self_attn.k_norm", /*plus=*/1);
}

struct Gemma2Layer {
  OffsetRmsNorm attention_norm;
  Attention attention;
  OffsetRmsNorm after_attention;
  OffsetRmsNorm mlp_norm;
  GatedMlp mlp;
  OffsetRmsNorm after_mlp;

  explicit Gemma2Layer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj"), qk_norm(in)),
        after_attention(in, "post_attention_layernorm"),
        mlp_norm(in, "pre_feedforward_layernorm"),
        mlp(in, gate_and_up(in, "mlp.gate_proj", "mlp.up_proj"), mlp_output(in, "mlp.down_proj")),
        after_mlp(in, "post_feedforward_layernorm") {
    in.ignore("self_attn.rotary_emb.inv_freq");
    // Multimodal checkpoints, as released and as newer tools save them: the text part is this one,
    // and images are not served.
    in.weights().optional_prefix("language_model.");
    in.weights().optional_prefix("model.language_model.", "model.");
    for (const char* outer : {"", "model."}) {
      in.weights().ignore_prefix(std::string(outer) + "vision_tower.");
      in.weights().ignore_prefix(std::string(outer) + "multi_modal_projector.");
    }
  }

  const OffsetRmsNorm& input_norm() const { return attention_norm; }

  Status forward(const TensorView& x, const OffsetRmsNorm* next, Pass& pass) const {
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

struct Gemma2 {
  using Layer = Gemma2Layer;
  using Norm = OffsetRmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_gemma2(PartLoader& in) { return std::make_unique<Decoder<Gemma2>>(in); }

}  // namespace trireme::worker
