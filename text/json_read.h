// Bounded JSON parsing and typed access with errors that name the key. For .cc files only: it
// brings in nlohmann.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trireme::text {

using Json = nlohmann::json;

// Parses at most `max_depth` nested arrays and objects. `what` names the document in errors.
Result<Json> parse_json(std::string_view text, std::string_view what, int max_depth = 64);

// The value of `key`, or null when it is absent or `object` is no object.
const Json& get(const Json& object, std::string_view key);

// Errors unless the value of `key` has the type. The variants with a default accept an absent or
// null value.
Result<std::string> get_string(const Json& object, std::string_view key);
Result<std::string> get_string(const Json& object, std::string_view key,
                               std::string_view otherwise);
Result<bool> get_bool(const Json& object, std::string_view key, bool otherwise);
Result<int64_t> get_int(const Json& object, std::string_view key, int64_t min, int64_t max);

}  // namespace trireme::text
