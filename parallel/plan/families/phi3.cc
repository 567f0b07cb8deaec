#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Phi-3, 3.5 and 4: all layers slide where the config has a window; part of a head may rotate.
Status read_phi3(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope,
                   read_rope(config, spec, {.partial = "partial_rotary_factor"}));
  spec.ropes = {rope};
  return read_uniform_window(config, spec);
}

}  // namespace trireme::plan
