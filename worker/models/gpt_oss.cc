// gpt-oss: every second layer slides, a learned sink per head joins each softmax, biases
// everywhere, and experts with a clamped SwiGLU that are stored [in, out], gate and up columns
// alternating.
//
// Source: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", arXiv:2508.10925.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"
#include "worker/models/pre_norm_layer.h"

namespace trireme::worker {
namespace {

struct GptOssLayer : PreNormLayer<RmsNorm, Attention> {
  explicit GptOssLayer(PartLoader& in)
      : PreNormLayer{
            RmsNorm(in, "input_layernorm"),
            Attention(
                in, separate_qkv(in, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                attention_output(in, "self_attn.o_proj"), /*qk_norm=*/nullptr, "self_attn.sinks"),
            RmsNorm(in, "post_attention_layernorm"),
            std::make_unique<Moe>(
                in, Router(in, "mlp.router"),
                transposed_experts(in, "mlp.experts.gate_up_proj", "mlp.experts.down_proj",
                                   GateUpColumns::kAlternating))} {}
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
