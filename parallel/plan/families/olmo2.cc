#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

Status read_olmo2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec, {.default_eps = 1e-5}));
  TRY(require_value(config, "hidden_act", "silu"));
  TRY(require_flag(config, "attention_bias", false, false));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  spec.qk_norm = QkNorm::kProjection;
  return {};
}

}  // namespace trireme::plan
