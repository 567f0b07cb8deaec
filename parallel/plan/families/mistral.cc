#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Llama without biases; all layers slide where the config has a window.
Status read_mistral(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  if (window > 0) make_sliding(spec, window, 0, spec.n_layers());
  return {};
}

}  // namespace trireme::plan
