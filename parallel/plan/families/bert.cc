#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// An encoder: learned positions and token types, LayerNorms behind the blocks, biases everywhere.
// Its pooling stands in a file of its own (model_spec.cc).
Status read_bert(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec,
                  {.kv_heads = nullptr,
                   .norm_eps = "layer_norm_eps",
                   .default_eps = 1e-12,
                   .tied_by_default = true}));
  ASSIGN_OR_RETURN(spec.activation, read_activation(config, "hidden_act", "gelu"));
  TRY(require_value(config, "position_embedding_type", "absolute"));
  TRY(require_flag(config, "is_decoder", false, false));
  TRY(require_flag(config, "add_cross_attention", false, false));
  ASSIGN_OR_RETURN(const int64_t n_types, config.integer_or("type_vocab_size", 1, 1024, 2));
  spec.encoder = EncoderSpec{.n_token_types = static_cast<int32_t>(n_types)};
  spec.norm = NormKind::kLayer;
  spec.norm_bias = spec.qkv_bias = spec.o_bias = spec.mlp_bias = true;
  spec.gated_mlp = false;
  spec.tied_embeddings = true;  // no head: the vocabulary's matrix stands there once
  spec.n_position_rows = spec.context;
  for (LayerSpec& layer : spec.layers) layer.rope = -1;
  return {};
}

}  // namespace trireme::plan
