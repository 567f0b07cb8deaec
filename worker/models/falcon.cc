// Falcon: attention and MLP side by side, rotary positions, no linear biases. The 7B layout has one
// norm for both blocks and one key-value head; the 40B and 180B layout a norm for each, and q heads
// grouped with their k and v in one tensor.
//
// Source: Almazrouei et al., arXiv:2311.16867.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct FalconLayer {
  LayerNorm norm;
  Attention attention;
  PlainMlp mlp;

  explicit FalconLayer(PartLoader& in)
      : norm(in, "input_layernorm"),
        attention(in, fused_qkv(in, "self_attention.query_key_value"),
                  attention_output(in, "self_attention.dense")),
        mlp(in, mlp_input(in, "mlp.dense_h_to_4h"), mlp_output(in, "mlp.dense_4h_to_h")) {
    in.ignore("self_attention.rotary_emb.inv_freq");
  }

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

struct GroupedFalconLayer {
  LayerNorm attention_norm;
  Attention attention;
  LayerNorm mlp_norm;
  PlainMlp mlp;

  explicit GroupedFalconLayer(PartLoader& in)
      : attention_norm(in, "ln_attn"),
        attention(in, grouped_qkv(in, "self_attention.query_key_value"),
                  attention_output(in, "self_attention.dense")),
        mlp_norm(in, "ln_mlp"),
        mlp(in, mlp_input(in, "mlp.dense_h_to_4h"), mlp_output(in, "mlp.dense_4h_to_h")) {
    in.ignore("self_attention.rotary_emb.inv_freq");
  }

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView attended = pass.normed();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, attended, pass));
    mlp_norm.forward(x, h, pass.context);
    TRY(mlp.forward(h, delta, pass));
    pass.add(attended, x);
    pass.add(delta, x);  // x += attention(norm(x)) + mlp(norm'(x))
    return {};
  }
};

constexpr DecoderNames kFalconNames{.embedding = "transformer.word_embeddings.weight",
                                    .layers = "transformer.h.",
                                    .final_norm = "transformer.ln_f",
                                    .head = "lm_head.weight"};

struct Falcon {
  using Layer = FalconLayer;
  using Norm = LayerNorm;
  static constexpr DecoderNames kNames = kFalconNames;
};

struct GroupedFalcon {
  using Layer = GroupedFalconLayer;
  using Norm = LayerNorm;
  static constexpr DecoderNames kNames = kFalconNames;
};

}  // namespace

std::unique_ptr<Model> make_falcon(PartLoader& in) {
  if (in.spec().norms_per_layer == 2) return std::make_unique<Decoder<GroupedFalcon>>(in);
  return std::make_unique<Decoder<Falcon>>(in);
}

}  // namespace trireme::worker
