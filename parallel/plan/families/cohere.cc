#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

// One LayerNorm without bias feeds both blocks of a layer; logits are scaled; the head is tied.
Status read_any_cohere(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec,
                  {.norm_eps = "layer_norm_eps", .default_eps = 1e-5, .tied_by_default = true}));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope,
                   read_rope(config, spec, {.layout = RopeLayout::kInterleaved}));
  spec.ropes = {rope};
  spec.norm = NormKind::kLayer;
  spec.norms_per_layer = 1;
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", false));
  spec.qkv_bias = spec.o_bias = attention_bias;
  ASSIGN_OR_RETURN(const double scale, config.number_or("logit_scale", 0, 1e6, 0.0625));
  spec.logit_scale = static_cast<float>(scale);
  return {};
}

}  // namespace

Status read_cohere(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_any_cohere(config, spec));
  ASSIGN_OR_RETURN(const bool qk_norm, config.boolean_or("use_qk_norm", false));
  if (qk_norm) spec.qk_norm = QkNorm::kEveryHead;
  return {};
}

// Each fourth layer sees all and does not rotate; the others slide.
Status read_cohere2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_any_cohere(config, spec));
  TRY(require_flag(config, "use_qk_norm", false, false));
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  ASSIGN_OR_RETURN(const int64_t pattern,
                   config.integer_or("sliding_window_pattern", 1, 1 << 10, 4));
  ASSIGN_OR_RETURN(const std::vector<bool> sliding, read_sliding_layers(config, spec, pattern));
  for (size_t i = 0; i < sliding.size(); ++i) {
    if (!sliding[i]) {
      spec.layers[i].rope = -1;
    } else if (window > 0) {
      make_sliding(spec.layers[i], window);
    }
  }
  return {};
}

}  // namespace trireme::plan
