// Any bytes as a request's body. The first byte picks the endpoint. What is accepted is within the
// limits that the rest of the router relies on.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "router/api/request.h"

namespace trireme::router {
namespace {

constexpr int32_t kVocab = 1000;

RequestBounds bounds() {
  RequestBounds b;
  b.limits.body_bytes = 1 << 20;
  b.vocab = kVocab;
  b.context = 4096;
  return b;
}

void check_ids(const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) CHECK(id >= 0 && id < kVocab) << id;
}

void check_json(const std::string& text) {
  if (!text.empty()) CHECK(parse_json(text, JsonLimits{}).ok()) << text;
}

void check_number(const std::optional<double>& value) {
  if (value) CHECK(std::isfinite(*value));
}

void check_generation(const GenerationRequest& r, const LimitConfig& limits) {
  CHECK(r.n >= 1 && r.n <= limits.n) << r.n;
  if (r.max_tokens) CHECK_GE(*r.max_tokens, 0);
  CHECK_GE(r.min_tokens, 0);
  CHECK_LE(r.stop.size(), static_cast<size_t>(limits.stop_count));
  for (const std::string& stop : r.stop) {
    CHECK(!stop.empty() && stop.size() <= static_cast<size_t>(limits.stop_bytes));
  }
  CHECK_LE(r.n_logprobs, limits.top_logprobs);
  CHECK_LE(r.sampling.logit_bias.size(), static_cast<size_t>(limits.logit_bias_entries));
  for (const auto& [id, bias] : r.sampling.logit_bias) {
    CHECK(id >= 0 && id < kVocab && std::isfinite(bias)) << id;
  }
  check_ids(r.sampling.allowed_token_ids);
  check_ids(r.stop_token_ids);
  check_number(r.sampling.temperature);
  check_number(r.sampling.top_p);
  check_number(r.sampling.min_p);
  check_number(r.sampling.presence_penalty);
  check_number(r.sampling.frequency_penalty);
  check_number(r.sampling.repetition_penalty);
  for (const Prompt& prompt : r.prompts) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) check_ids(*ids);
  }
  for (const auto* text :
       {&r.messages_json, &r.tools_json, &r.documents_json, &r.template_kwargs_json}) {
    check_json(*text);
  }
}

}  // namespace
}  // namespace trireme::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme::router;
  if (size == 0) return 0;
  static const RequestBounds kBounds = bounds();
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  GenerationRequest generation;
  TokenizeRequest tokenize;
  DetokenizeRequest detokenize;
  switch (data[0] % 4) {
    case 0:
      if (!parse_chat_request(body, kBounds, &generation)) {
        check_generation(generation, kBounds.limits);
      }
      break;
    case 1:
      if (!parse_completion_request(body, kBounds, &generation)) {
        CHECK(!generation.prompts.empty());
        check_generation(generation, kBounds.limits);
      }
      break;
    case 2:
      if (!parse_tokenize_request(body, kBounds, &tokenize) && !tokenize.prompt) {
        check_json(tokenize.chat.messages_json);
      }
      break;
    default:
      if (!parse_detokenize_request(body, kBounds, &detokenize)) check_ids(detokenize.tokens);
  }
  return 0;
}
