#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// GPT-NeoX and Pythia: part of each head rotates; LayerNorms and biases everywhere.
Status read_gpt_neox(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec,
                  {.kv_heads = nullptr, .norm_eps = "layer_norm_eps", .default_eps = 1e-5}));
  ASSIGN_OR_RETURN(spec.activation, read_activation(config, "hidden_act", "gelu"));
  ASSIGN_OR_RETURN(
      const RopeSpec rope,
      read_rope(config, spec,
                {.theta = "rotary_emb_base", .partial = "rotary_pct", .default_partial = 0.25}));
  spec.ropes = {rope};
  TRY(require_flag(config, "use_parallel_residual", true, true));
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", true));
  spec.qkv_bias = spec.o_bias = attention_bias;
  spec.norm = NormKind::kLayer;
  spec.norm_bias = spec.mlp_bias = true;
  spec.gated_mlp = false;
  return {};
}

}  // namespace trireme::plan
