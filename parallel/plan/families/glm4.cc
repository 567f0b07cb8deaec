#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// GLM-4-0414: half of each head rotates, in neighbouring pairs; q, k and v may have biases, o
// never.
Status read_glm4(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec, {.default_eps = 1.5625e-7}));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec,
                                                  {.partial = "partial_rotary_factor",
                                                   .default_partial = 0.5,
                                                   .layout = RopeLayout::kInterleaved}));
  spec.ropes = {rope};
  spec.norms_per_layer = 4;
  ASSIGN_OR_RETURN(spec.qkv_bias, config.boolean_or("attention_bias", false));
  return {};
}

}  // namespace trireme::plan
