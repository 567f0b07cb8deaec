// JSON from outside: bounded before it is built.
//
// Parsing refuses, with a sentence that says where: more bytes, depth or keys than the limits,
// duplicate keys in one object, numbers that f64 cannot hold (1e400), invalid UTF-8, trailing
// bytes. It never throws and never recurses without a limit. This header pulls nlohmann/json in:
// include it from .cc files only.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace trireme {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = 8 << 20;
  int max_depth = 64;
  size_t max_keys = 100'000;      // of all objects together
  size_t max_values = 2'000'000;  // array elements and object values together
  bool allow_duplicate_keys = false;
};

// invalid_argument: what is wrong, with its line and column.
Result<Json> parse_json(std::string_view text, const JsonLimits& limits);

}  // namespace trireme
