#include "parallel/plan/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/gguf.h"
#include "base/lfs_pointer.h"
#include "parallel/plan/config_json.h"
#include "parallel/plan/gguf_config.h"
#include "parallel/plan/model_spec.h"

namespace trireme::plan {
namespace {

namespace fs = std::filesystem;

// "org/name", and nothing that a path of this machine would begin with.
bool looks_like_hub_name(const std::string& path) {
  return std::count(path.begin(), path.end(), '/') == 1 && path.find_first_of("/.~") != 0 &&
         !path.ends_with('/');
}

Result<std::string> read_bounded(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return no_model_at(file.string());
  const auto bytes = fs::file_size(file, error);
  if (error || bytes > kMaxConfigBytes) {
    return invalid_argument(fmt::format("'{}' is not a config.json: it is larger than {} bytes.",
                                        file.string(), kMaxConfigBytes));
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text(static_cast<size_t>(bytes), '\0');
  if (!stream.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return not_found(fmt::format("'{}' cannot be read.", file.string()));
  }
  if (is_lfs_pointer(text)) {
    return data_loss(fmt::format("'{}' {}.", file.string(), kIsLfsPointer));
  }
  return text;
}

// A folder without config.json is often one that was taken for a model's: what it is instead.
Error no_config(const fs::path& folder) {
  std::error_code error;
  const auto holds = [&](const char* name) { return fs::exists(folder / name, error); };
  std::string message = fmt::format("there is no config.json in '{}'", folder.string());
  if (holds("adapter_config.json")) {
    message += ": it holds an adapter (LoRA); merge it into its base model, and serve the result";
  } else if (holds("snapshots")) {
    message += ": it is the top of a download cache; the model is a folder under 'snapshots'";
  } else if (holds("params.json")) {
    message += ": params.json is of another layout; the Hugging Face form of the model is served";
  } else if (fs::is_empty(folder, error)) {
    message += ", which is empty";
  }
  return not_found(message + ".");
}

}  // namespace

Error no_model_at(const std::string& path) {
  std::string message = fmt::format("there is no file or folder '{}'", path);
  std::error_code error;
  if (fs::exists(path, error)) {
    message = fmt::format("'{}' is neither a folder nor a file", path);
  } else if (looks_like_hub_name(path)) {
    message += fmt::format(
        "; models are not downloaded here: fetch it first (hf download {} --local-dir DIR), and "
        "give its folder",
        path);
  }
  return not_found(message + ".");
}

Result<std::string> read_model_config(const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<std::string> gguf_path, find_gguf(path));
  if (gguf_path.has_value()) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Gguf> gguf, Gguf::open(*gguf_path));
    return gguf_config_json(*gguf);
  }
  std::error_code error;
  const fs::path given(path);
  if (!fs::is_directory(given, error)) {
    if (fs::is_regular_file(given, error) && given.extension() != ".json") {
      return invalid_argument(fmt::format(
          "'{}' is no model: a folder, a config.json or a GGUF file (.gguf) is.", path));
    }
    return read_bounded(given);
  }
  if (!fs::exists(given / "config.json", error)) return no_config(given);
  return read_bounded(given / "config.json");
}

Result<std::optional<std::string>> read_beside_config(const std::string& path,
                                                      const std::string& name) {
  ASSIGN_OR_RETURN(const std::optional<std::string> gguf_path, find_gguf(path));
  if (gguf_path.has_value()) return std::optional<std::string>();
  std::error_code error;
  const fs::path given(path);
  const fs::path folder = fs::is_directory(given, error) ? given : given.parent_path();
  const fs::path file = folder / name;
  if (!fs::exists(file, error)) return std::optional<std::string>();
  ASSIGN_OR_RETURN(std::string text, read_bounded(file));
  return std::optional<std::string>(std::move(text));
}

Result<QuantizationSpec> read_quantize_config(const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text,
                   read_beside_config(path, "quantize_config.json"));
  return text ? parse_quantize_config(*text) : QuantizationSpec{};
}

}  // namespace trireme::plan
