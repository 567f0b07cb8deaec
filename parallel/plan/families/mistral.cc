#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Llama without biases; all layers slide where the config has a window.
Status read_mistral(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  return read_uniform_window(config, spec);
}

// Mistral with experts in every layer.
Status read_mixtral(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_mistral(config, spec));
  ASSIGN_OR_RETURN(MoeSpec moe, read_moe(config));
  moe.renormalize = true;
  use_experts(spec, moe);
  return {};
}

}  // namespace trireme::plan
