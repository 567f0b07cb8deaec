// gpt-oss: every second layer slides, a learned sink per head joins each softmax, biases
// everywhere, and experts with a clamped SwiGLU that are stored [in, out], gate and up columns
// alternating.
//
// Source: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", arXiv:2508.10925.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct GptOssLayer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm experts_norm;
  Moe experts;

  explicit GptOssLayer(PartLoader& in)
      : attention_norm(in, "input_layernorm"),
        attention(in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                  attention_output(in, "self_attn.o_proj"), /*qk_norm=*/nullptr, "self_attn.sinks"),
        experts_norm(in, "post_attention_layernorm"),
        experts(in, Router(in, "mlp.router"),
                transposed_experts(in, "mlp.experts.gate_up_proj", "mlp.experts.down_proj",
                                   GateUpColumns::kAlternating)) {}

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

struct GptOss {
  using Layer = GptOssLayer;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames{};
};

}  // namespace

std::unique_ptr<Model> make_gpt_oss(PartLoader& in) {
  return std::make_unique<Decoder<GptOss>>(in);
}

}  // namespace trireme::worker
