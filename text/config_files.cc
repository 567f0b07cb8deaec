#include "text/config_files.h"

#include "text/read_file.h"

namespace trireme::text {
namespace {

constexpr size_t kMaxConfigBytes = 64 << 20;

}  // namespace

Result<Json> read_json_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Json();
  const std::string name = path.filename().string();
  ASSIGN_OR_RETURN(const std::string bytes, read_file(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(Json json, parse_json(bytes, name));
  if (!json.is_object()) return invalid_argument(name + " is not an object");
  return json;
}

Result<Json> read_tokenizer_config(const std::filesystem::path& folder) {
  ASSIGN_OR_RETURN(Json config, read_json_file(folder / "tokenizer_config.json"));
  if (config.is_null()) config = Json::object();
  ASSIGN_OR_RETURN(const Json map, read_json_file(folder / "special_tokens_map.json"));
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (!config.contains(key) && map.contains(key)) config[key] = map[key];
  }
  return config;
}

std::string python_tokenizer(const Json& config) {
  const Json& map = get(config, "auto_map");
  // A name, or those of the slow and of the fast class.
  const Json& entry = map.is_object() ? get(map, "AutoTokenizer") : map;
  const Json& name = entry.is_array() && !entry.empty() ? entry.front() : entry;
  if (!name.is_string()) return {};
  const auto whole = name.get<std::string>();
  const size_t repository = whole.rfind("--");  // "owner/name--module.Class": code from elsewhere
  return repository == std::string::npos ? whole : whole.substr(repository + 2);
}

std::string token_text(const Json& config, const char* key) {
  const Json& token = get(config, key);
  const Json& text = token.is_object() ? get(token, "content") : token;
  return text.is_string() ? text.get<std::string>() : std::string();
}

}  // namespace trireme::text
