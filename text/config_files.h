// The small JSON files beside a model's weights. For .cc files only: it brings in nlohmann.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "text/json_read.h"

namespace trireme::text {

// The JSON object in a file; null when there is no file. Errors name the file, never its folder.
Result<Json> read_json_file(const std::filesystem::path& path);

// tokenizer_config.json, with the special tokens that it leaves out as special_tokens_map.json has
// them. An empty object when there are neither.
Result<Json> read_tokenizer_config(const std::filesystem::path& folder);

// "module.Class" of the Python tokenizer that a folder brings (auto_map), which is never run: its
// name says what it does, where it is known. Empty: there is none.
std::string python_tokenizer(const Json& config);
inline constexpr std::string_view kKimiPython = "tokenization_kimi.TikTokenTokenizer";
inline constexpr std::string_view kMoonshotPython = "tokenization_moonshot.TikTokenTokenizer";

// A special token is a string, or an object with its "content". Empty: there is none.
std::string token_text(const Json& config, const char* key);

}  // namespace trireme::text
