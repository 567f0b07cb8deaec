// Grok-1: norms before and behind each block, scores capped by tanh, multipliers on embedding,
// scores and logits, and in every layer experts of which a token meets two.
//
// Its tensors have two sets of names: those of the release, and those of the conversions that call
// an expert's matrices w1, w2 and w3. Source: xAI, "Open Release of Grok-1", 2024.
#include "worker/layers/attention.h"
#include "worker/layers/moe.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

struct ReleaseNames {
  static constexpr DecoderNames kDecoder{.embedding = "transformer.in_out_embed.weight",
                                         .layers = "transformer.decoder_layer.",
                                         .final_norm = "transformer.rms_norm",
                                         .head = "lm_head.weight"};
  static constexpr const char* kAttentionNorm = "rms_norm";
  static constexpr const char* kAfterAttention = "rms_norm_1";
  static constexpr const char* kExpertsNorm = "rms_norm_2";
  static constexpr const char* kAfterExperts = "rms_norm_3";
  static constexpr const char* kQ = "multi_head_attention.query";
  static constexpr const char* kK = "multi_head_attention.key";
  static constexpr const char* kV = "multi_head_attention.value";
  static constexpr const char* kO = "multi_head_attention.linear";
  static constexpr const char* kRouter = "router";
  static constexpr const char* kExperts = "moe.";
  static constexpr const char* kGate = "linear";
  static constexpr const char* kUp = "linear_v";
  static constexpr const char* kDown = "linear_1";
};

struct ConvertedNames {
  static constexpr DecoderNames kDecoder{};
  static constexpr const char* kAttentionNorm = "pre_attn_norm";
  static constexpr const char* kAfterAttention = "post_attn_norm";
  static constexpr const char* kExpertsNorm = "pre_moe_norm";
  static constexpr const char* kAfterExperts = "post_moe_norm";
  static constexpr const char* kQ = "self_attn.q_proj";
  static constexpr const char* kK = "self_attn.k_proj";
  static constexpr const char* kV = "self_attn.v_proj";
  static constexpr const char* kO = "self_attn.o_proj";
  static constexpr const char* kRouter = "block_sparse_moe.gate";
  static constexpr const char* kExperts = "block_sparse_moe.experts.";
  static constexpr const char* kGate = "w1";
  static constexpr const char* kUp = "w3";
  static constexpr const char* kDown = "w2";
};

template <typename Names>
struct Grok1Layer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm after_attention;
  RmsNorm experts_norm;
  Moe experts;
  RmsNorm after_experts;

  explicit Grok1Layer(PartLoader& in)
      : attention_norm(in, Names::kAttentionNorm),
        attention(in, separate_qkv(in, Names::kQ, Names::kK, Names::kV),
                  attention_output(in, Names::kO)),
        after_attention(in, Names::kAfterAttention),
        experts_norm(in, Names::kExpertsNorm),
        experts(in, Router(in, Names::kRouter),
                separate_experts(in, Names::kExperts, Names::kGate, Names::kUp, Names::kDown)),
        after_experts(in, Names::kAfterExperts) {}

  const RmsNorm& input_norm() const { return attention_norm; }

  Status forward(const TensorView& x, const RmsNorm* next, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    const TensorView normed = pass.normed();
    TRY(attention.forward(h, delta, pass));
    after_attention.forward(delta, normed, pass.context);  // x += norm(attention(norm(x)))
    experts_norm.add_and_forward(x, normed, h, pass.context);
    TRY(experts.forward(h, delta, pass));
    after_experts.forward(delta, normed, pass.context);  // x += norm(experts(norm(x)))
    if (next != nullptr) {
      next->add_and_forward(x, normed, h, pass.context);
    } else {
      pass.add(normed, x);
    }
    return {};
  }
};

template <typename Names>
struct Grok1 {
  using Layer = Grok1Layer<Names>;
  using Norm = RmsNorm;
  static constexpr DecoderNames kNames = Names::kDecoder;
};

}  // namespace

std::unique_ptr<Model> make_grok1(PartLoader& in) {
  return std::make_unique<Decoder<Grok1<ConvertedNames>>>(in);
}

std::unique_ptr<Model> make_grok1_release(PartLoader& in) {
  return std::make_unique<Decoder<Grok1<ReleaseNames>>>(in);
}

}  // namespace trireme::worker
