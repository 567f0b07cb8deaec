// What lies beside a model's configuration, for `inspect`: its weights, tokenizer and chat
// template.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "parallel/plan/model_spec.h"

namespace trireme::cli {

// Each part is a sentence for a table's row.
struct ModelFolder {
  std::string weights;
  std::optional<size_t> n_tensors;   // nullopt: no weights, or wrong ones
  std::optional<std::string> wrong;  // what is there and cannot be served
  std::string tokenizer;
  std::optional<int32_t> n_tokens;  // nullopt: no tokenizer
  bool chat_template = false;
  std::vector<int32_t> eos_ids;  // what ends a generation when served
};

// Nullopt for the path of a config.json.
std::optional<ModelFolder> look_into(const std::string& model, const plan::ModelSpec& spec);
Json folder_json(const ModelFolder& folder);

}  // namespace trireme::cli
