#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// A Llama with four multipliers; logits are divided by theirs.
Status read_granite(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_llama(config, spec));
  constexpr double kMax = 1e6;
  ASSIGN_OR_RETURN(const double embedding, config.number_or("embedding_multiplier", 0, kMax, 1));
  ASSIGN_OR_RETURN(const double residual, config.number_or("residual_multiplier", 0, kMax, 1));
  ASSIGN_OR_RETURN(const double attention, config.number_or("attention_multiplier", 0, kMax, 1));
  ASSIGN_OR_RETURN(const double logits, config.number_or("logits_scaling", 1e-6, kMax, 1));
  spec.embedding_scale = static_cast<float>(embedding);
  spec.residual_scale = static_cast<float>(residual);
  spec.attention_scale = static_cast<float>(attention);
  spec.logit_scale = static_cast<float>(1 / logits);
  return {};
}

// Granite with experts in every layer.
Status read_granitemoe(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_granite(config, spec));
  ASSIGN_OR_RETURN(MoeSpec moe, read_moe(config));
  moe.scoring = ExpertScoring::kSoftmaxOfChosen;
  use_experts(spec, moe);
  return {};
}

}  // namespace trireme::plan
