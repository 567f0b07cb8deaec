#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Absent multipliers are those of the release. Its "gelu" is the tanh approximation, and the
// weights of the chosen experts are divided by their sum, as the norm behind the experts makes them
// anyway. router_logit_softcapping stands in configs, but the release does not cap its router.
Status read_grok1(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec, {.default_eps = 1e-5, .tied_by_default = true}));
  TRY(require_value(config, "hidden_act", "gelu"));
  spec.activation = Activation::kGeluTanh;
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  constexpr double kMax = 1e6;
  ASSIGN_OR_RETURN(const double embedding,
                   config.number_or("embedding_multiplier_scale", 0, kMax, 78.38367176906169));
  ASSIGN_OR_RETURN(const double logits,
                   config.number_or("output_multiplier_scale", 0, kMax, 0.5773502691896257));
  ASSIGN_OR_RETURN(const double scores,
                   config.number_or("attn_output_multiplier", 0, kMax, 0.08838834764831845));
  ASSIGN_OR_RETURN(const double cap, config.number_or("attn_logit_softcapping", 0, kMax, 30));
  spec.embedding_scale = static_cast<float>(embedding);
  spec.logit_scale = static_cast<float>(logits);
  spec.attention_scale = static_cast<float>(scores);
  spec.attention_softcap = static_cast<float>(cap);
  spec.norms_per_layer = 4;
  ASSIGN_OR_RETURN(MoeSpec moe, read_moe(config));
  moe.renormalize = true;
  use_experts(spec, moe);
  return {};
}

}  // namespace trireme::plan
