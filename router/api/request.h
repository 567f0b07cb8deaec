// GenerationRequest: a checked chat completion, completion or embedding request, as the client
// wrote it.
//
// Parsing checks types, ranges and limits; nothing here knows a tokenizer. Absent fields stay
// absent, since their default is generation_config.json's, then ours (prepare.h). Unknown fields
// are ignored; known features that we do not serve are refused with a sentence. Pure and
// thread-safe. Fields: conventions section 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/cluster_config.h"
#include "router/api/api_error.h"

namespace trireme::router {

using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct SamplingFields {
  std::optional<double> temperature, top_p, min_p;
  std::optional<double> presence_penalty, frequency_penalty, repetition_penalty;
  std::optional<int64_t> top_k;
  std::optional<int64_t> seed;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<int32_t> allowed_token_ids;
  std::vector<std::string> bad_words;
};

struct GenerationRequest {
  bool chat = false;
  bool embed = false;   // vectors of the prompts are wanted, and no tokens
  bool base64 = false;  // as base64 of little-endian floats
  std::string model;

  // Completions and embeddings: one or more prompts.
  std::vector<Prompt> prompts;
  bool echo = false;
  // Chat: JSON texts for the template, checked for shape. Content parts are already joined to one
  // string.
  std::string messages_json;
  std::string tools_json;            // empty: none
  std::string documents_json;        // empty: none
  std::string template_kwargs_json;  // an object, or empty
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  bool parse_special_tokens = false;  // control tokens that messages spell out count as such

  std::optional<bool> add_special_tokens;  // default: completions true, chat false
  std::optional<int32_t>
      truncate_prompt_tokens;  // keep the last k; -1: as many as the context takes
  int32_t n = 1;
  std::optional<int64_t> max_tokens;
  int32_t min_tokens = 0;
  SamplingFields sampling;

  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  bool skip_special_tokens = true;

  int32_t n_logprobs = -1;  // -1: none; k: the k best besides the sampled one
  int32_t n_prompt_logprobs = -1;
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;

  bool stream = false;
  bool include_usage = false;
  bool continuous_usage_stats = false;
  int32_t priority = 0;
  std::string cache_salt;
  std::string user;
};

// What parsing needs to know of the model.
struct RequestBounds {
  LimitConfig limits;
  int32_t vocab = 0;
  int32_t context = 0;
};

// Fill `request`; an error says what is wrong, and `request` is then worthless.
std::optional<ApiError> parse_chat_request(std::string_view body, const RequestBounds& bounds,
                                           GenerationRequest* request);
std::optional<ApiError> parse_completion_request(std::string_view body, const RequestBounds& bounds,
                                                 GenerationRequest* request);

// `input` is a prompt, or a list of them, as completions have it.
std::optional<ApiError> parse_embedding_request(std::string_view body, const RequestBounds& bounds,
                                                GenerationRequest* request);

struct TokenizeRequest {
  std::string model;
  std::optional<std::string> prompt;  // else a chat, in `chat`
  GenerationRequest chat;
  bool add_special_tokens = true;
  bool return_token_strs = false;
};
std::optional<ApiError> parse_tokenize_request(std::string_view body, const RequestBounds& bounds,
                                               TokenizeRequest* request);

struct DetokenizeRequest {
  std::string model;
  std::vector<int32_t> tokens;
  bool skip_special_tokens = false;
};
std::optional<ApiError> parse_detokenize_request(std::string_view body, const RequestBounds& bounds,
                                                 DetokenizeRequest* request);

}  // namespace trireme::router
