// Responses and stream events as bytes, exactly as conventions section 1 has them.
//
// A stream writes some hundred bytes per token, thousands of times a second: the JSON around a
// choice's text is made once, and an event is a few appends to the connection's buffer. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "router/api/api_error.h"

namespace trireme::router {

struct UsageNumbers {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t cost_nano_usd = 0;
};
void append_usage(std::string& out, const UsageNumbers& usage);
// "0.000012345": exact, no binary fraction.
void append_nano_usd(std::string& out, int64_t nano_usd);

struct ResponseIdentity {
  bool chat = false;
  std::string id;  // "chatcmpl-...", "cmpl-..."
  std::string model;
  int64_t created_s = 0;
};

// The optional parts of one choice's event: JSON texts, empty where absent.
struct ChoiceExtras {
  std::string_view logprobs;
  std::string_view token_ids;         // "[1,2]"
  std::string_view prompt_token_ids;  // likewise, once
  std::string_view usage;             // an object: continuous_usage_stats
};

// Writes the events of one choice.
class ChoiceEvents {
 public:
  ChoiceEvents(const ResponseIdentity& identity, int index, bool usage_null);

  void role(std::string& out, const ChoiceExtras& extras) const;  // chat alone
  void text(std::string& out, std::string_view text, const ChoiceExtras& extras) const;
  // stop_reason is a JSON text: null, a number or a string.
  void finish(std::string& out, std::string_view finish_reason, std::string_view stop_reason,
              const ChoiceExtras& extras) const;

 private:
  void tail(std::string& out, const ChoiceExtras& extras) const;

  bool chat_;
  bool usage_null_;
  std::string head_;  // up to and with "index":N
};

// The extra event with choices [] and the usage of all.
void append_usage_event(std::string& out, const ResponseIdentity& identity,
                        const UsageNumbers& usage);
void append_error_event(std::string& out, const ApiError& error);
void append_done_event(std::string& out);
inline constexpr std::string_view kPing = ": ping\n\n";

// One choice of a whole response.
struct WholeChoice {
  int index = 0;
  std::string text;
  std::string finish_reason;
  std::string stop_reason = "null";  // JSON
  std::string logprobs;              // JSON, or empty
  std::string token_ids;             // JSON, or empty
  std::string prompt_token_ids;      // JSON, or empty
  std::string prompt_logprobs;       // JSON, or empty
};
void append_response_head(std::string& out, const ResponseIdentity& identity);
void append_whole_choice(std::string& out, const ResponseIdentity& identity,
                         const WholeChoice& choice);
// One vector of a response to an embedding request: as a list of numbers, or as the base64 of
// little-endian floats.
void append_embedding(std::string& out, int index, const std::vector<float>& vector, bool base64);
std::string ids_json(const int32_t* ids, size_t n);

}  // namespace trireme::router
