#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

Status read_llama(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", false));
  spec.qkv_bias = spec.o_bias = attention_bias;
  ASSIGN_OR_RETURN(spec.mlp_bias, config.boolean_or("mlp_bias", false));
  return {};
}

}  // namespace trireme::plan
