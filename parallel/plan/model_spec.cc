#include "parallel/plan/model_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "parallel/plan/config_json.h"
#include "parallel/plan/families/families.h"
#include "parallel/plan/model_files.h"

namespace trireme::plan {
namespace {

Result<const FamilyRow*> find_family(const ConfigObject& config) {
  const nlohmann::json& document = config.raw();
  const auto it = document.find("architectures");
  if (it == document.end() || !it->is_array() || it->empty() || !it->front().is_string()) {
    return invalid_argument(
        "config.json: 'architectures' must be a list whose first entry names the architecture.");
  }
  const auto architecture = it->front().get<std::string>().substr(0, 80);
  for (const FamilyRow& row : family_table()) {
    if (architecture == row.architecture) return &row;
  }
  const char* code =
      config.has("auto_map") ? " (it brings code of its own, 'auto_map', which is never run)" : "";
  return unimplemented(fmt::format("architecture '{}' is not served{}; this build serves {}.",
                                   architecture, code, fmt::join(served_architectures(), ", ")));
}

}  // namespace

std::vector<std::string> served_architectures() {
  std::vector<std::string> names;
  for (const FamilyRow& row : family_table()) names.emplace_back(row.architecture);
  return names;
}

int32_t ModelSpec::recompute_length() const {
  for (const RopeSpec& rope : ropes) {
    if (rope.scaling == RopeScaling::kLongRope) return static_cast<int32_t>(rope.original_context);
  }
  return 0;
}

RopeGrowth ModelSpec::rope_growth() const {
  for (const RopeSpec& rope : ropes) {
    if (rope.scaling == RopeScaling::kDynamic) {
      return {.from = static_cast<int32_t>(rope.original_context)};
    }
  }
  return {};
}

namespace {

// A dynamic base makes the context longer than max_position_embeddings, which it starts from.
Status extend_context(ModelSpec& spec) {
  if (!spec.rope_growth().grows()) return {};
  if (spec.ropes.size() > 1) {
    return unimplemented(
        "config.json: a dynamic rope is served only where all layers rotate alike.");
  }
  spec.context = static_cast<int32_t>(spec.ropes[0].reach());
  return {};
}

}  // namespace

Result<ModelSpec> parse_model_spec(const std::string& config_json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, parse_config_json(config_json));
  const ConfigObject config(document, "");
  ASSIGN_OR_RETURN(const FamilyRow* family, find_family(config));
  ModelSpec spec;
  spec.architecture = family->architecture;
  spec.family = family->family;
  ASSIGN_OR_RETURN(spec.quantization, parse_quantization(config_json));
  TRY(family->read(config, spec));
  TRY(extend_context(spec));
  return spec;
}

namespace {

// How sentence-transformers says what becomes of the rows; without the files: their mean, of length
// 1.
Status read_pooling(const std::string& path, EncoderSpec& encoder) {
  ASSIGN_OR_RETURN(const auto pooling, read_beside_config(path, "1_Pooling/config.json"));
  if (pooling) {
    ASSIGN_OR_RETURN(const nlohmann::json document, parse_config_json(*pooling));
    const ConfigObject config(document, "1_Pooling: ");
    ASSIGN_OR_RETURN(const bool first, config.boolean_or("pooling_mode_cls_token", false));
    ASSIGN_OR_RETURN(const bool mean, config.boolean_or("pooling_mode_mean_tokens", false));
    if (first == mean) {
      return unimplemented(
          "1_Pooling/config.json: exactly one of pooling_mode_cls_token and "
          "pooling_mode_mean_tokens is served.");
    }
    encoder.pooling = first ? Pooling::kFirst : Pooling::kMean;
  }
  ASSIGN_OR_RETURN(const auto modules, read_beside_config(path, "modules.json"));
  if (modules) encoder.normalize = modules->find("models.Normalize") != std::string::npos;
  return {};
}

}  // namespace

Result<ModelSpec> load_model_spec(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string config, read_model_config(path));
  ASSIGN_OR_RETURN(ModelSpec spec, parse_model_spec(config));
  if (spec.encoder) TRY(read_pooling(path, *spec.encoder));
  if (!spec.quantization.enabled()) {
    ASSIGN_OR_RETURN(spec.quantization, read_quantize_config(path));
  }
  return spec;
}

}  // namespace trireme::plan
