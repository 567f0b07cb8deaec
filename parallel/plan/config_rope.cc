// read_rope: positions, in both layouts of config.json.
#include <fmt/format.h>

#include <cmath>

#include "parallel/plan/config_keys.h"

namespace trireme::plan {
namespace {

constexpr double kMaxTheta = 1e15;
constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxContext = 1 << 28;
constexpr int64_t kMaxDynamicBytes = 64 << 20;

Status read_llama3(const ConfigObject& scaling, RopeSpec& rope) {
  rope.scaling = RopeScaling::kLlama3;
  ASSIGN_OR_RETURN(rope.low_freq_factor, scaling.number("low_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(rope.high_freq_factor, scaling.number("high_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(rope.original_context,
                   scaling.integer("original_max_position_embeddings", 1, kMaxContext));
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return invalid_argument(fmt::format(
        "config.json: 'high_freq_factor' ({:g}) must be greater than 'low_freq_factor' ({:g}).",
        rope.high_freq_factor, rope.low_freq_factor));
  }
  return {};
}

Result<std::optional<double>> read_optional(const ConfigObject& scaling, const char* key) {
  if (!scaling.has(key)) return std::optional<double>();
  ASSIGN_OR_RETURN(const double value, scaling.number(key, 0, kMaxFactor));
  return std::optional<double>(value);
}

Status read_yarn(const ConfigObject& scaling, const ModelSpec& spec, RopeSpec& rope) {
  rope.scaling = RopeScaling::kYarn;
  ASSIGN_OR_RETURN(rope.original_context, scaling.integer_or("original_max_position_embeddings", 1,
                                                             kMaxContext, spec.context));
  ASSIGN_OR_RETURN(rope.beta_fast, scaling.number_or("beta_fast", 1e-3, kMaxFactor, 32));
  ASSIGN_OR_RETURN(rope.beta_slow, scaling.number_or("beta_slow", 1e-3, kMaxFactor, 1));
  ASSIGN_OR_RETURN(rope.truncate, scaling.boolean_or("truncate", true));
  ASSIGN_OR_RETURN(rope.mscale, read_optional(scaling, "mscale"));
  ASSIGN_OR_RETURN(rope.mscale_all_dim, read_optional(scaling, "mscale_all_dim"));
  ASSIGN_OR_RETURN(rope.attention_factor, read_optional(scaling, "attention_factor"));
  return {};
}

// original_max_position_embeddings stands beside rope_scaling, or in it; the factor follows from
// it.
Status read_longrope(const ConfigObject& config, const ConfigObject& scaling, const ModelSpec& spec,
                     RopeSpec& rope) {
  rope.scaling = RopeScaling::kLongRope;
  constexpr const char* kOriginal = "original_max_position_embeddings";
  const ConfigObject& holder = config.has(kOriginal) ? config : scaling;
  ASSIGN_OR_RETURN(rope.original_context, holder.integer(kOriginal, 2, kMaxContext));
  rope.factor = static_cast<double>(spec.context) / static_cast<double>(rope.original_context);
  ASSIGN_OR_RETURN(rope.attention_factor, read_optional(scaling, "attention_factor"));
  for (auto [key, factors] : {std::pair{"short_factor", &rope.short_factors},
                              std::pair{"long_factor", &rope.long_factors}}) {
    ASSIGN_OR_RETURN(*factors, scaling.numbers(key, 1e-6, kMaxFactor, 4096));
    if (factors->size() != static_cast<size_t>(rope.rotary_dim / 2)) {
      return invalid_argument(
          fmt::format("config.json: '{}' has {} entries; {} channel pairs rotate.", key,
                      factors->size(), rope.rotary_dim / 2));
    }
  }
  return {};
}

Status read_scaling(const ConfigObject& config, const ConfigObject& scaling, const ModelSpec& spec,
                    RopeSpec& rope) {
  // "type" is the older name of "rope_type".
  ASSIGN_OR_RETURN(const std::string legacy, scaling.string_or("type", "default"));
  ASSIGN_OR_RETURN(const std::string kind, scaling.string_or("rope_type", legacy));
  if (kind == "default") return {};
  if (kind == "longrope" || kind == "su") return read_longrope(config, scaling, spec, rope);
  if (kind != "linear" && kind != "llama3" && kind != "dynamic" && kind != "yarn") {
    return unimplemented(
        fmt::format("config.json: rope type '{}' is not served; this build serves default, linear, "
                    "dynamic, llama3, yarn and longrope.",
                    kind.substr(0, 40)));
  }
  ASSIGN_OR_RETURN(rope.factor, scaling.number("factor", 1, kMaxFactor));
  if (kind == "llama3") return read_llama3(scaling, rope);
  if (kind == "yarn") return read_yarn(scaling, spec, rope);
  rope.scaling = kind == "linear" ? RopeScaling::kLinear : RopeScaling::kDynamic;
  rope.original_context = spec.context;
  if (rope.scaling == RopeScaling::kLinear) return {};
  const double set_bytes = rope.rotary_dim * sizeof(float) / 2.0;
  if (rope.rotary_dim < 4 || (rope.factor - 1) * spec.context * set_bytes > kMaxDynamicBytes) {
    return unimplemented(
        fmt::format("config.json: a dynamic rope of factor {:g} over {} tokens is not served: it "
                    "takes a base for each length, and those have a limit of {} MiB.",
                    rope.factor, spec.context, kMaxDynamicBytes >> 20));
  }
  return {};
}

// The object that describes the rotation in the newer layout, or nothing.
Result<std::optional<ConfigObject>> rope_parameters(const ConfigObject& config,
                                                    const RopeKeys& keys) {
  if (!config.has("rope_parameters")) return std::optional<ConfigObject>();
  ASSIGN_OR_RETURN(const ConfigObject all, config.object("rope_parameters"));
  if (keys.layer_kind != nullptr && all.has(keys.layer_kind)) {
    ASSIGN_OR_RETURN(const ConfigObject kind, all.object(keys.layer_kind));
    return std::optional<ConfigObject>(kind);
  }
  for (const auto& [key, value] : all.raw().items()) {
    if (value.is_object()) {
      return unimplemented(fmt::format(
          "config.json: 'rope_parameters.{}' differs by layer kind, which this family does not.",
          key.substr(0, 64)));
    }
  }
  return std::optional<ConfigObject>(all);
}

Result<int32_t> read_rotary_dim(const ConfigObject& config, const ConfigObject& inner,
                                const ModelSpec& spec, const RopeKeys& keys) {
  const int32_t head_dim = keys.head_dim > 0 ? keys.head_dim : spec.head_dim;
  const char* key = keys.partial != nullptr ? keys.partial : "partial_rotary_factor";
  const ConfigObject& holder = inner.has(key) ? inner : config;
  ASSIGN_OR_RETURN(const double partial, holder.number_or(key, 0, 1, keys.default_partial));
  if (keys.partial == nullptr && partial != 1) {
    return unimplemented(fmt::format(
        "config.json: '{}' is {:g}; this family is served with whole-head rotation only.", key,
        partial));
  }
  const auto dim = static_cast<int32_t>(head_dim * partial);
  if (dim < 2 || dim % 2 != 0) {
    return invalid_argument(fmt::format(
        "config.json: '{}' {:g} of heads of {} rotates {} channels, which are no pairs.", key,
        partial, head_dim, dim));
  }
  return dim;
}

}  // namespace

Result<RopeSpec> read_rope(const ConfigObject& config, const ModelSpec& spec,
                           const RopeKeys& keys) {
  RopeSpec rope;
  rope.layout = keys.layout;
  ASSIGN_OR_RETURN(const std::optional<ConfigObject> newer, rope_parameters(config, keys));
  ASSIGN_OR_RETURN(rope.rotary_dim, read_rotary_dim(config, newer ? *newer : config, spec, keys));
  ASSIGN_OR_RETURN(rope.theta, config.number_or(keys.theta, 1, kMaxTheta, keys.default_theta));
  if (newer) {
    ASSIGN_OR_RETURN(rope.theta, newer->number_or("rope_theta", 1, kMaxTheta, rope.theta));
    if (keys.scaled) TRY(read_scaling(config, *newer, spec, rope));
  } else if (keys.scaled && config.has("rope_scaling")) {
    ASSIGN_OR_RETURN(const ConfigObject scaling, config.object("rope_scaling"));
    TRY(read_scaling(config, scaling, spec, rope));
  }
  return rope;
}

}  // namespace trireme::plan
