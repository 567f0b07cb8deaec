// What the layers of a model leave in the KV cache, by kind, for `plan` and `inspect`.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "parallel/plan/model_spec.h"

namespace trireme::cli {

// A line per kind of layer, e.g. "23 sliding layers: 188,416 bytes per token, for the last 4,096".
// None where all layers see everything.
std::vector<std::string> describe_kv_kinds(const plan::ModelSpec& spec, DType kv_dtype);
// [{"attention", "span_tokens" (null: all), "layers", "bytes_per_token"}].
Json kv_kinds_json(const plan::ModelSpec& spec, DType kv_dtype);

}  // namespace trireme::cli
