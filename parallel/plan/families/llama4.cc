#include <fmt/format.h>

#include <algorithm>

#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

// A list of layers' numbers or switches; absent or empty: what `fallback` says of each layer.
Result<std::vector<bool>> read_rotating(const ConfigObject& config, const ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t interval,
                   config.integer_or("no_rope_layer_interval", 1, 1 << 10, 4));
  // Despite its name the list has a 1 where a layer rotates.
  ASSIGN_OR_RETURN(const std::vector<double> listed,
                   config.numbers("no_rope_layers", 0, 1, spec.layers.size()));
  if (!listed.empty() && listed.size() != spec.layers.size()) {
    return invalid_argument(
        fmt::format("config.json: 'no_rope_layers' has {} entries for {} layers.", listed.size(),
                    spec.layers.size()));
  }
  std::vector<bool> rotating;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    rotating.push_back(listed.empty() ? (static_cast<int64_t>(i) + 1) % interval != 0
                                      : listed[i] != 0);
  }
  return rotating;
}

Status read_attention(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(
      const RopeSpec rope,
      read_rope(config, spec, {.default_theta = 500000, .layout = RopeLayout::kInterleaved}));
  spec.ropes = {rope};
  ASSIGN_OR_RETURN(const int32_t chunk, read_window(config, "attention_chunk_size"));
  ASSIGN_OR_RETURN(const std::vector<bool> rotating, read_rotating(config, spec));
  for (size_t i = 0; i < rotating.size(); ++i) {
    LayerSpec& layer = spec.layers[i];
    if (!rotating[i]) {
      layer.rope = -1;
    } else if (chunk > 0) {
      layer.attention = AttentionKind::kChunked;
      layer.span = chunk;
    }
  }
  ASSIGN_OR_RETURN(const bool qk_norm, config.boolean_or("use_qk_norm", true));
  if (qk_norm) spec.qk_norm = QkNorm::kUnweighted;
  return {};
}

// The queries' growth on layers that do not rotate. The switch is a flag, or in older configs a
// number.
Status read_temperature(const ConfigObject& config, ModelSpec& spec) {
  const nlohmann::json& all = config.raw();
  const auto at = all.find("attn_temperature_tuning");
  const bool is_off = at != all.end() && (*at == false || *at == 0);
  if (is_off) return {};
  ASSIGN_OR_RETURN(const double floor, config.number_or("floor_scale", 1, 1e9, 8192));
  ASSIGN_OR_RETURN(const double scale, config.number_or("attn_scale", 0, 1e6, 0.1));
  spec.floor_scale = static_cast<float>(floor);
  spec.temperature_scale = static_cast<float>(scale);
  return {};
}

// Which layers have experts: those listed, or each `interleave_moe_layer_step`-th.
Status read_experts(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(MoeSpec moe, read_moe(config));
  moe.scoring = ExpertScoring::kSigmoid;
  moe.scales_input = true;
  moe.shared_width = moe.width;
  spec.moe = moe;
  ASSIGN_OR_RETURN(const int64_t step,
                   config.integer_or("interleave_moe_layer_step", 1, 1 << 10, 1));
  ASSIGN_OR_RETURN(const std::vector<int32_t> listed,
                   config.integers("moe_layers", 0, spec.n_layers() - 1));
  for (int32_t i = 0; i < spec.n_layers(); ++i) {
    const bool is_listed = std::find(listed.begin(), listed.end(), i) != listed.end();
    spec.layers[static_cast<size_t>(i)].moe = listed.empty() ? (i + 1) % step == 0 : is_listed;
  }
  return {};
}

}  // namespace

// A multimodal config has the text part's under text_config.
Status read_llama4(const ConfigObject& config, ModelSpec& spec) {
  if (config.has("text_config")) {
    ASSIGN_OR_RETURN(const ConfigObject text, config.object("text_config"));
    if (text.has("text_config")) {
      return invalid_argument("config.json: 'text_config' holds another text_config.");
    }
    return read_llama4(text, spec);
  }
  TRY(read_common(config, spec, {.intermediate = "intermediate_size_mlp", .default_eps = 1e-5}));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", false));
  spec.qkv_bias = spec.o_bias = attention_bias;
  TRY(read_attention(config, spec));
  TRY(read_temperature(config, spec));
  return read_experts(config, spec);
}

}  // namespace trireme::plan
