#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

// 7B: all query heads share one key-value head. 40B and 180B (new_decoder_architecture): groups.
Status read_heads(const ConfigObject& config, bool grouped, const char* key, ModelSpec& spec) {
  if (!grouped) {
    TRY(require_flag(config, "multi_query", true, true));
    TRY(require_flag(config, "parallel_attn", true, true));
    spec.n_kv_heads = 1;
    return {};
  }
  ASSIGN_OR_RETURN(const int64_t kv_heads, config.integer(key, 1, spec.n_heads));
  if (spec.n_heads % kv_heads != 0) {
    return invalid_argument("config.json: 'num_kv_heads' does not divide the attention heads.");
  }
  spec.n_kv_heads = static_cast<int32_t>(kv_heads);
  return {};
}

}  // namespace

Status read_falcon(const ConfigObject& config, ModelSpec& spec) {
  const auto either = [&](const char* newer, const char* older) {
    return config.has(newer) ? newer : older;
  };
  TRY(read_common(config, spec,
                  {.layers = either("num_hidden_layers", "n_layer"),
                   .heads = either("num_attention_heads", "n_head"),
                   .kv_heads = nullptr,
                   .intermediate = nullptr,
                   .norm_eps = "layer_norm_epsilon",
                   .default_eps = 1e-5,
                   .tied_by_default = true}));
  ASSIGN_OR_RETURN(spec.intermediate,
                   read_width(config, "ffn_hidden_size", 4 * int64_t{spec.hidden}));
  ASSIGN_OR_RETURN(spec.activation, read_activation(config, "activation", "gelu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  TRY(require_flag(config, "alibi", false, false));
  TRY(require_flag(config, "bias", false, false));
  ASSIGN_OR_RETURN(const bool grouped, config.boolean_or("new_decoder_architecture", false));
  TRY(read_heads(config, grouped, either("num_kv_heads", "n_head_kv"), spec));
  spec.norm = NormKind::kLayer;
  spec.norm_bias = true;
  spec.norms_per_layer = grouped ? 2 : 1;  // one norm feeds both blocks of the 7B
  spec.gated_mlp = false;
  return {};
}

}  // namespace trireme::plan
