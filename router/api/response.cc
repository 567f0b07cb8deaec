#include "router/api/response.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>

#include "router/api/json_text.h"
#include "text/base64.h"

namespace trireme::router {
namespace {

void append_identity(std::string& out, const ResponseIdentity& identity, std::string_view object) {
  out += R"({"id":)";
  append_json_string(out, identity.id);
  out += R"(,"object":")";
  out += object;
  out += R"(","created":)";
  append_int(out, identity.created_s);
  out += R"(,"model":)";
  append_json_string(out, identity.model);
  out += R"(,"system_fingerprint":null)";
}

void append_field(std::string& out, std::string_view name, std::string_view json) {
  if (json.empty()) return;
  out += ",\"";
  out += name;
  out += "\":";
  out += json;
}

}  // namespace

void append_nano_usd(std::string& out, int64_t nano_usd) {
  const bool negative = nano_usd < 0;
  const auto n = static_cast<uint64_t>(negative ? -nano_usd : nano_usd);
  out += fmt::format("{}{}.{:09}", negative ? "-" : "", n / 1'000'000'000, n % 1'000'000'000);
}

void append_usage(std::string& out, const UsageNumbers& usage) {
  out += R"({"prompt_tokens":)";
  append_int(out, usage.prompt_tokens);
  out += R"(,"completion_tokens":)";
  append_int(out, usage.completion_tokens);
  out += R"(,"total_tokens":)";
  append_int(out, usage.prompt_tokens + usage.completion_tokens);
  out += R"(,"prompt_tokens_details":{"cached_tokens":)";
  append_int(out, usage.cached_tokens);
  out += R"(},"cost":{"usd":)";
  append_nano_usd(out, usage.cost_nano_usd);
  out += R"(,"nano_usd":)";
  append_int(out, usage.cost_nano_usd);
  out += "}}";
}

// ---- stream events ----

ChoiceEvents::ChoiceEvents(const ResponseIdentity& identity, int index, bool usage_null)
    : chat_(identity.chat), usage_null_(usage_null) {
  head_ = "data: ";
  append_identity(head_, identity, identity.chat ? "chat.completion.chunk" : "text_completion");
  head_ += R"(,"choices":[{"index":)";
  append_int(head_, index);
  head_ += identity.chat ? R"(,"delta":{)" : R"(,"text":")";
}

void ChoiceEvents::tail(std::string& out, const ChoiceExtras& extras) const {
  append_field(out, "token_ids", extras.token_ids);
  if (!chat_) append_field(out, "prompt_token_ids", extras.prompt_token_ids);
  out += "}]";
  if (chat_) append_field(out, "prompt_token_ids", extras.prompt_token_ids);
  if (!extras.usage.empty()) {
    append_field(out, "usage", extras.usage);
  } else if (usage_null_) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

void ChoiceEvents::role(std::string& out, const ChoiceExtras& extras) const {
  out += head_;
  out += R"("role":"assistant","content":""},"logprobs":null,"finish_reason":null)";
  tail(out, extras);
}

void ChoiceEvents::text(std::string& out, std::string_view text, const ChoiceExtras& extras) const {
  out += head_;
  if (chat_) out += R"("content":")";
  append_json_escaped(out, text);
  out += chat_ ? R"("},"logprobs":)" : R"(","logprobs":)";
  out += extras.logprobs.empty() ? "null" : extras.logprobs;
  out += R"(,"finish_reason":null)";
  if (!chat_) out += R"(,"stop_reason":null)";
  tail(out, extras);
}

void ChoiceEvents::finish(std::string& out, std::string_view finish_reason,
                          std::string_view stop_reason, const ChoiceExtras& extras) const {
  out += head_;
  out += chat_ ? R"(},"logprobs":)" : R"(","logprobs":)";
  out += extras.logprobs.empty() ? "null" : extras.logprobs;
  out += R"(,"finish_reason":")";
  out += finish_reason;
  out += R"(","stop_reason":)";
  out += stop_reason;
  tail(out, extras);
}

void append_usage_event(std::string& out, const ResponseIdentity& identity,
                        const UsageNumbers& usage) {
  out += "data: ";
  append_identity(out, identity, identity.chat ? "chat.completion.chunk" : "text_completion");
  out += R"(,"choices":[],"usage":)";
  append_usage(out, usage);
  out += "}\n\n";
}

void append_error_event(std::string& out, const ApiError& error) {
  out += "data: ";
  out += error_json(error);
  out += "\n\n";
}

void append_done_event(std::string& out) { out += "data: [DONE]\n\n"; }

// ---- whole responses ----

void append_response_head(std::string& out, const ResponseIdentity& identity) {
  append_identity(out, identity, identity.chat ? "chat.completion" : "text_completion");
}

void append_whole_choice(std::string& out, const ResponseIdentity& identity,
                         const WholeChoice& choice) {
  out += R"({"index":)";
  append_int(out, choice.index);
  if (identity.chat) {
    out += R"(,"message":{"role":"assistant","content":)";
    append_json_string(out, choice.text);
    out += '}';
  } else {
    out += R"(,"text":)";
    append_json_string(out, choice.text);
  }
  out += R"(,"logprobs":)";
  out += choice.logprobs.empty() ? "null" : choice.logprobs;
  out += R"(,"finish_reason":)";
  append_json_string(out, choice.finish_reason);
  out += R"(,"stop_reason":)" + choice.stop_reason;
  append_field(out, "token_ids", choice.token_ids);
  if (!identity.chat) {
    append_field(out, "prompt_token_ids", choice.prompt_token_ids);
    append_field(out, "prompt_logprobs", choice.prompt_logprobs);
  }
  out += '}';
}

void append_embedding(std::string& out, int index, const std::vector<float>& vector, bool base64) {
  out += R"({"object":"embedding","index":)";
  append_int(out, index);
  out += R"(,"embedding":)";
  if (base64) {
    static_assert(std::endian::native == std::endian::little);
    const std::string_view bytes(reinterpret_cast<const char*>(vector.data()),
                                 vector.size() * sizeof(float));
    out += '"' + text::encode_base64(bytes) + '"';
  } else {
    // The shortest digits that are read back as the same float.
    out += fmt::format("[{}]", fmt::join(vector, ","));
  }
  out += '}';
}

std::string ids_json(const int32_t* ids, size_t n) {
  std::string out = "[";
  for (size_t i = 0; i < n; ++i) {
    if (i > 0) out += ',';
    append_int(out, ids[i]);
  }
  out += ']';
  return out;
}

}  // namespace trireme::router
