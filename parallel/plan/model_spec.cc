#include "parallel/plan/model_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>

#include "parallel/plan/config_json.h"
#include "parallel/plan/families/families.h"

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
  return unimplemented(fmt::format("architecture '{}' is not served; this build serves {}.",
                                   architecture, fmt::join(served_architectures(), ", ")));
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

Result<ModelSpec> parse_model_spec(const std::string& config_json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, parse_config_json(config_json));
  const ConfigObject config(document, "");
  ASSIGN_OR_RETURN(const FamilyRow* family, find_family(config));
  if (config.has("quantization_config")) {
    return unimplemented(
        "config.json: 'quantization_config' is set; quantized checkpoints are not served.");
  }
  ModelSpec spec;
  spec.architecture = family->architecture;
  spec.family = family->family;
  TRY(family->read(config, spec));
  return spec;
}

Result<ModelSpec> load_model_spec(const std::string& path) {
  std::error_code error;
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(file, error)) file /= "config.json";
  if (!std::filesystem::is_regular_file(file, error)) {
    return not_found(fmt::format("there is no model configuration at '{}'.", file.string()));
  }
  const auto bytes = std::filesystem::file_size(file, error);
  if (error || bytes > kMaxConfigBytes) {
    return invalid_argument(fmt::format("'{}' is not a config.json: it is larger than {} bytes.",
                                        file.string(), kMaxConfigBytes));
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text(static_cast<size_t>(bytes), '\0');
  if (!stream.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return not_found(fmt::format("'{}' cannot be read.", file.string()));
  }
  return parse_model_spec(text);
}

}  // namespace trireme::plan
