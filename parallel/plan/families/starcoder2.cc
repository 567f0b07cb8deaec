#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

Status read_starcoder2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec,
                  {.norm_eps = "norm_epsilon", .default_eps = 1e-5, .tied_by_default = true}));
  ASSIGN_OR_RETURN(spec.activation, read_activation(config, "hidden_act", "gelu_pytorch_tanh"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  TRY(require_value(config, "mlp_type", "default"));
  TRY(require_value(config, "norm_type", "layer_norm"));
  ASSIGN_OR_RETURN(const bool bias, config.boolean_or("use_bias", true));
  spec.qkv_bias = spec.o_bias = spec.mlp_bias = bias;
  spec.norm = NormKind::kLayer;
  spec.norm_bias = true;
  spec.gated_mlp = false;
  return read_uniform_window(config, spec);
}

}  // namespace trireme::plan
