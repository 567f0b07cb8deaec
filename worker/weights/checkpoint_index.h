// model.safetensors.index.json: which file holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trireme::worker {

inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

// Tensor name to file name. Pure. invalid_argument: not JSON, no weight_map, a tensor listed twice
// or without a plain file name (no folder, no "..").
Result<std::map<std::string, std::string>> parse_index(const std::string& json);
// The same of a file, bounded.
Result<std::map<std::string, std::string>> read_index(const std::string& path);

}  // namespace trireme::worker
