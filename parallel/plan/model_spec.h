// ModelSpec: what config.json says, checked and in the field's terms: the parts of any decoder, as
// data.
//
// Pure data; knows nothing of ranks. Source of truth for every size of a model: parameters, bytes,
// KV bytes per token. Parts that a family does not have keep their neutral value, and a family's
// forward reads only the parts that it has. Which keys mean what is the business of one short file
// per family, families/*.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/activation.h"
#include "kernels/dtype.h"
#include "kernels/ops.h"
#include "parallel/plan/quantization_spec.h"
#include "parallel/plan/rope_growth.h"
#include "parallel/plan/rope_spec.h"

namespace trireme::plan {

// Position p sees every key j <= p; of them the last `span`; or those of its own chunk of `span`.
enum class AttentionKind : uint8_t { kFull, kSliding, kChunked };

struct LayerSpec {
  AttentionKind attention = AttentionKind::kFull;
  int32_t span = 0;  // tokens
  int32_t rope = 0;  // index into ModelSpec::ropes; -1: the layer does not rotate
  bool moe = false;  // experts instead of the dense MLP
};

enum class NormKind : uint8_t { kRms, kLayer };
// What norms q and k have between projection and scores, and the weights it has per layer.
enum class QkNorm : uint8_t {
  kNone,
  kHead,        // RMS of each head, one [head_dim] for all heads
  kEveryHead,   // LayerNorm of each head, [n_heads, head_dim]
  kProjection,  // RMS over the whole projection, [n_heads * head_dim]
  kUnweighted,  // RMS of each head, no weights
};
using kernels::Activation;

// Multi-head latent attention: keys and values are up-projections of one cached row per token.
// Source: DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434, sec. 2.1.
struct MlaSpec {
  int32_t q_rank = 0;   // q_lora_rank; 0: queries are projected from the hidden state directly
  int32_t kv_rank = 0;  // kv_lora_rank
  int32_t nope_dim = 0;
  int32_t rope_dim = 0;
  int32_t value_dim = 0;
  int32_t latent_width() const { return kv_rank + rope_dim; }  // cached per token and layer
};

using kernels::ExpertScoring;
using kernels::GroupScore;

struct MoeSpec {
  int32_t n_experts = 0;
  int32_t top_k = 0;
  int32_t width = 0;         // of an expert's MLP
  int32_t shared_width = 0;  // of the MLP that every token takes besides; 0: none
  bool shared_gate = false;  // the shared MLP's output is scaled by sigmoid(gate . x)
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  GroupScore group_score = GroupScore::kNone;
  int32_t n_groups = 1;
  int32_t n_chosen_groups = 1;
  bool renormalize = false;  // the chosen weights divided by their sum
  float weight_scale = 1;    // routed_scaling_factor
  bool choice_bias = false;  // a stored bias takes part in the choice only
  bool router_bias = false;
  bool expert_bias = false;
  bool scales_input = false;  // the weight multiplies the expert's input, not its output
  float swiglu_limit = 0;     // > 0: the clamped SwiGLU of gpt-oss, instead of the activation
};

// What an encoder answers with: one vector for a whole text, made of its rows, instead of tokens.
enum class Pooling : uint8_t { kMean, kFirst };
struct EncoderSpec {
  int32_t n_token_types = 0;  // rows of the token-type table; every token is of type 0
  Pooling pooling = Pooling::kMean;
  bool normalize = true;  // the vector's length is made 1
};

struct ModelSpec {
  std::string architecture;  // e.g. "LlamaForCausalLM"
  std::string family;        // key of the worker's model registry: "llama"
  int32_t hidden = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t intermediate = 0;  // width of a dense layer's MLP
  int32_t vocab = 0;
  int32_t context = 0;  // tokens: max_position_embeddings

  std::vector<LayerSpec> layers;
  std::vector<RopeSpec> ropes;
  std::optional<MlaSpec> mla;
  std::optional<MoeSpec> moe;
  int32_t n_predict_layers = 0;  // stored behind the others to predict further tokens: not computed
  // Set: every row sees all rows of its text, and there is no head.
  std::optional<EncoderSpec> encoder;

  NormKind norm = NormKind::kRms;
  float norm_eps = 0;
  bool norm_bias = false;
  int32_t norms_per_layer = 2;  // those of width `hidden`
  QkNorm qk_norm = QkNorm::kNone;
  Activation activation = Activation::kSilu;
  bool gated_mlp = true;  // act(gate) * up; else act(up)
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool sinks = false;  // a learned score per head joins each softmax
  bool tied_embeddings = false;
  int32_t n_position_rows = 0;  // of a learned position table; 0: none

  float embedding_scale = 1;    // multiplies the embedding
  float residual_scale = 1;     // multiplies what a block adds to the residual stream
  float attention_scale = 0;    // multiplies q.k; the common reader makes it 1 / sqrt(head_dim)
  float logit_scale = 1;        // multiplies the logits
  float attention_softcap = 0;  // 0: none
  float logit_softcap = 0;      // 0: none
  float floor_scale = 0;        // llama4's attention temperature on layers that do not rotate
  float temperature_scale = 0;

  DType weight_dtype = DType::kBF16;  // torch_dtype / dtype of the config; the files may differ
  QuantizationSpec quantization;      // how the files store the weights; no size here depends on it
  std::vector<int32_t> eos_ids;
  std::optional<int32_t> bos_id;

  int32_t n_layers() const { return static_cast<int32_t>(layers.size()); }
  // The length in tokens behind which a sequence rotates by other frequencies (longrope), so that
  // one which grows past it is computed again from its start; 0: no such length.
  int32_t recompute_length() const;
  RopeGrowth rope_growth() const;
  int64_t n_parameters() const;
  // Parameters that a token meets: its experts instead of all, its row of an untied embedding.
  int64_t n_active_parameters() const;
  // Bytes of all weights, held once (not replicated).
  int64_t weight_bytes(DType dtype) const;
  // What one token leaves in the cache over all layers of the model, unreplicated.
  int64_t kv_bytes_per_token(DType kv_dtype) const;
};

// Reads `config.json` (a file or a model folder), or the metadata of a GGUF file (or a folder with
// one) as if it were one. invalid_argument names the key that is absent, mistyped or absurd;
// unimplemented names an architecture or feature that this build does not serve.
Result<ModelSpec> load_model_spec(const std::string& path);
// not_found, with what to do about it, for a path with neither file nor folder.
Error no_model_at(const std::string& path);
// The same from the JSON text itself.
Result<ModelSpec> parse_model_spec(const std::string& config_json);
// Every architecture of the table, e.g. "LlamaForCausalLM".
std::vector<std::string> served_architectures();

}  // namespace trireme::plan
