#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Learned positions instead of rotations, LayerNorms and biases everywhere, and names of its own
// for every size.
Status read_gpt2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec,
                  {.layers = "n_layer",
                   .hidden = "n_embd",
                   .heads = "n_head",
                   .kv_heads = nullptr,
                   .intermediate = nullptr,
                   .context = "n_positions",
                   .norm_eps = "layer_norm_epsilon",
                   .default_eps = 1e-5,
                   .tied_by_default = true}));
  ASSIGN_OR_RETURN(spec.intermediate, read_width(config, "n_inner", 4 * int64_t{spec.hidden}));
  ASSIGN_OR_RETURN(spec.activation, read_activation(config, "activation_function", "gelu_new"));
  TRY(require_flag(config, "scale_attn_weights", true, true));
  TRY(require_flag(config, "scale_attn_by_inverse_layer_idx", false, false));
  TRY(require_flag(config, "add_cross_attention", false, false));
  spec.norm = NormKind::kLayer;
  spec.norm_bias = spec.qkv_bias = spec.o_bias = spec.mlp_bias = true;
  spec.gated_mlp = false;
  spec.n_position_rows = spec.context;
  for (LayerSpec& layer : spec.layers) layer.rope = -1;
  return {};
}

}  // namespace trireme::plan
