#include <cmath>

#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

// What the three generations share: embeddings scaled by sqrt(hidden), a tied head, and the tanh
// approximation of GELU, which the first generation's configs call "gelu" in hidden_act.
Status read_any_gemma(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec, {.tied_by_default = true}));
  ASSIGN_OR_RETURN(spec.activation,
                   read_activation(config, "hidden_activation", "gelu_pytorch_tanh"));
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", false));
  spec.qkv_bias = spec.o_bias = attention_bias;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden));
  return {};
}

// Scores are scaled by a number of their own, and capped, as logits are.
Status read_scores(const ConfigObject& config, ModelSpec& spec) {
  constexpr double kMax = 1e6;
  ASSIGN_OR_RETURN(const double scalar, config.number_or("query_pre_attn_scalar", 1e-6, kMax, 256));
  ASSIGN_OR_RETURN(const double attention, config.number_or("attn_logit_softcapping", 0, kMax, 0));
  ASSIGN_OR_RETURN(const double logits, config.number_or("final_logit_softcapping", 0, kMax, 0));
  spec.attention_scale = static_cast<float>(1 / std::sqrt(scalar));
  spec.attention_softcap = static_cast<float>(attention);
  spec.logit_softcap = static_cast<float>(logits);
  return {};
}

// Each `pattern`-th layer sees all; the others the last sliding_window tokens, and they rotate by
// `local_rope`.
Status read_pattern(const ConfigObject& config, ModelSpec& spec, int64_t pattern,
                    int32_t local_rope) {
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  ASSIGN_OR_RETURN(const std::vector<bool> sliding, read_sliding_layers(config, spec, pattern));
  for (size_t i = 0; i < sliding.size(); ++i) {
    if (!sliding[i]) continue;
    spec.layers[i].rope = local_rope;
    if (window > 0) make_sliding(spec.layers[i], window);
  }
  return {};
}

}  // namespace

Status read_gemma(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_any_gemma(config, spec));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  return {};
}

Status read_gemma2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_gemma(config, spec));
  TRY(read_scores(config, spec));
  spec.norms_per_layer = 4;
  return read_pattern(config, spec, /*pattern=*/2, /*local_rope=*/0);
}

Status read_gemma3(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_any_gemma(config, spec));
  TRY(read_scores(config, spec));
  spec.norms_per_layer = 4;
  spec.qk_norm = QkNorm::kHead;
  ASSIGN_OR_RETURN(const RopeSpec global,
                   read_rope(config, spec, {.default_theta = 1e6, .layer_kind = "full_attention"}));
  ASSIGN_OR_RETURN(const RopeSpec local, read_rope(config, spec,
                                                   {.theta = "rope_local_base_freq",
                                                    .scaled = false,
                                                    .layer_kind = "sliding_attention"}));
  spec.ropes = {global, local};
  ASSIGN_OR_RETURN(const int64_t pattern,
                   config.integer_or("sliding_window_pattern", 1, 1 << 10, 6));
  return read_pattern(config, spec, pattern, /*local_rope=*/1);
}

// Of a multimodal model the text part alone is served. Its config says what differs from its class,
// and the token ids may stand outside of it.
Status read_gemma3_multimodal(const ConfigObject& config, ModelSpec& spec) {
  nlohmann::json text = {{"vocab_size", 262208},      {"hidden_size", 2304},
                         {"intermediate_size", 9216}, {"num_hidden_layers", 26},
                         {"num_attention_heads", 8},  {"num_key_value_heads", 4},
                         {"head_dim", 256},           {"max_position_embeddings", 131072},
                         {"sliding_window", 4096}};
  for (const char* key : {"eos_token_id", "bos_token_id", "torch_dtype", "dtype"}) {
    if (config.has(key)) text[key] = config.raw().at(key);
  }
  ASSIGN_OR_RETURN(const ConfigObject given, config.object("text_config"));
  for (const auto& [key, value] : given.raw().items()) {
    if (!value.is_null()) text[key] = value;
  }
  return read_gemma3(ConfigObject(text, "text_config."), spec);
}

}  // namespace trireme::plan
