#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Even layers slide. hidden_act says silu, but the experts' activation is one of their own.
Status read_gpt_oss(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec, {.default_eps = 1e-5}));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec, {.default_theta = 150000}));
  spec.ropes = {rope};
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", true));
  spec.qkv_bias = spec.o_bias = attention_bias;
  spec.sinks = true;
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  ASSIGN_OR_RETURN(const std::vector<bool> sliding,
                   read_sliding_layers(config, spec, /*pattern=*/2));
  for (size_t i = 0; i < sliding.size(); ++i) {
    if (sliding[i] && window > 0) make_sliding(spec.layers[i], window);
  }
  ASSIGN_OR_RETURN(MoeSpec moe, read_moe(config));
  moe.scoring = ExpertScoring::kSoftmaxOfChosen;
  moe.router_bias = moe.expert_bias = true;
  ASSIGN_OR_RETURN(const double limit, config.number_or("swiglu_limit", 1e-3, 1e6, 7));
  moe.swiglu_limit = static_cast<float>(limit);
  use_experts(spec, moe);
  return {};
}

}  // namespace trireme::plan
