// From a checked request to what replicas run: token ids, sampling parameters, limits held.
//
// Pure but for the random seed, and thread-safe: long prompts are prepared off the loop's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/step/step_plan.h"
#include "router/api/request.h"
#include "router/api/served_model.h"

namespace trireme::router {

struct PreparedPrompt {
  std::shared_ptr<const std::vector<int32_t>> ids;
  std::string echo_text;  // with echo: the prompt as text
  int32_t max_tokens = 0;
};

struct PreparedRequest {
  std::vector<PreparedPrompt> prompts;
  step::SamplingParams sampling;  // sequence i of a prompt uses seed + i
  std::vector<int32_t> stop_token_ids;
  int64_t n_prompt_tokens = 0;  // of all prompts
  int64_t n_max_tokens = 0;     // of all sequences: what may be generated at most
};

struct PrepareContext {
  const ServedModel* model = nullptr;
  LimitConfig limits;
  int32_t context = 0;       // what the replicas serve, at most the model's
  int64_t now_s = 0;         // for templates that show the date
  uint64_t random_seed = 0;  // where the request has none
};

std::optional<ApiError> prepare(const GenerationRequest& request, const PrepareContext& context,
                                PreparedRequest* out);

// The ids of one text; 400 where the model has no tokenizer.
std::optional<ApiError> encode_text(const ServedModel& model, const std::string& text,
                                    bool add_special_tokens, std::vector<int32_t>* ids);
std::optional<ApiError> encode_chat(const ServedModel& model, const GenerationRequest& request,
                                    int64_t now_s, std::vector<int32_t>* ids);

}  // namespace trireme::router
