#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

// A window counts only with use_sliding_window, and then for the layers from max_window_layers on.
Status read_window_switch(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const bool slides, config.boolean_or("use_sliding_window", false));
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  if (!slides || window == 0) return {};
  ASSIGN_OR_RETURN(const int64_t first, config.integer_or("max_window_layers", 0, 1 << 20, 28));
  for (int64_t i = first; i < spec.n_layers(); ++i) {
    make_sliding(spec.layers[static_cast<size_t>(i)], window);
  }
  return {};
}

Status read_qwen(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  return read_window_switch(config, spec);
}

}  // namespace

// No key says that q, k and v have biases: they always do.
Status read_qwen2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_qwen(config, spec));
  spec.qkv_bias = true;
  return {};
}

Status read_qwen3(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_qwen(config, spec));
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", false));
  spec.qkv_bias = spec.o_bias = attention_bias;
  spec.qk_norm = QkNorm::kHead;
  return {};
}

}  // namespace trireme::plan
