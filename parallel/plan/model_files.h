// Where a model's description is: config.json, the metadata of a GGUF file, quantize_config.json.
//
// Private to parallel/plan. Files are bounded.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "parallel/plan/quantization_spec.h"

namespace trireme::plan {

// The text of the config.json of a model path: a config.json itself, a folder with one, or a GGUF
// file or a folder with one, whose metadata is written as a config.json.
Result<std::string> read_model_config(const std::string& path);

// A small file beside the config.json of a model path; nullopt where there is none.
Result<std::optional<std::string>> read_beside_config(const std::string& path,
                                                      const std::string& name);

// What quantize_config.json beside a config.json says; layout kNone when there is none.
Result<QuantizationSpec> read_quantize_config(const std::string& path);

}  // namespace trireme::plan
