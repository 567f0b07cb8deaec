// ServedModel: what the router knows of the model that it serves: names, sizes, tokenizer,
// template, sampling defaults.
//
// Immutable after load and thread-safe. It never reads weights.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/cluster_config.h"
#include "base/result.h"
#include "router/api/request.h"
#include "text/tokenizer.h"

namespace trireme::router {

// Of generation_config.json: what a request does not say.
struct GenerationDefaults {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
  std::optional<int64_t> max_new_tokens;
};
// Absent file: no defaults. invalid_argument: a file that is no JSON object, or a value out of
// range.
Result<GenerationDefaults> load_generation_defaults(const std::string& folder);

struct ServedModel {
  std::string name;
  int32_t context = 0;  // tokens: the model's own, or the configuration's smaller one
  int32_t vocab = 0;
  bool encoder = false;  // makes embeddings and no tokens
  int64_t created_s = 0;
  std::vector<int32_t> eos_ids;
  GenerationDefaults defaults;
  std::optional<text::Tokenizer> tokenizer;  // absent: prompts are token ids
  // The ids of a rendered chat; null where the model has no tokenizer or no template.
  std::function<Result<std::vector<int32_t>>(const GenerationRequest& request, int64_t now_s)>
      encode_chat;
};

// Reads config.json, generation_config.json, the tokenizer and the chat template of the folder.
Result<ServedModel> load_served_model(const ModelConfig& config);

}  // namespace trireme::router
