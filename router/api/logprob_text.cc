#include "router/api/logprob_text.h"

#include <algorithm>

#include "router/api/json_text.h"

namespace trireme::router {
namespace {

int64_t n_code_points(std::string_view text) {
  int64_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

std::span<const step::TokenLogprob> best(const step::PositionLogprobs& position, int n_top) {
  return std::span(position.top).first(std::min(position.top.size(), static_cast<size_t>(n_top)));
}

bool holds(std::span<const step::TokenLogprob> entries, int32_t token) {
  return std::any_of(entries.begin(), entries.end(),
                     [token](const step::TokenLogprob& entry) { return entry.token == token; });
}

void append_named(std::string& out, const TokenNames& names, const step::TokenLogprob& entry) {
  out += R"({"token":)";
  append_json_string(out, names.name(entry.token));
  out += R"(,"logprob":)";
  append_logprob(out, entry.logprob);
  out += R"(,"bytes":)";
  if (!names.has_bytes()) {
    out += "null";
    return;
  }
  out += '[';
  bool first = true;
  for (const char c : names.bytes(entry.token)) {
    if (!first) out += ',';
    first = false;
    append_int(out, static_cast<unsigned char>(c));
  }
  out += ']';
}

}  // namespace

std::string TokenNames::name(int32_t id) const {
  if (as_ids_ || tokenizer_ == nullptr) return "token_id:" + std::to_string(id);
  std::string text = tokenizer_->id_to_bytes(id);
  if (is_valid_utf8(text)) return text;
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "bytes:";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

std::string TokenNames::bytes(int32_t id) const {
  return tokenizer_ == nullptr ? std::string() : tokenizer_->id_to_bytes(id);
}

void append_chat_logprob(std::string& out, const TokenNames& names,
                         const step::PositionLogprobs& position, int n_top) {
  append_named(out, names, position.actual);
  out += R"(,"top_logprobs":[)";
  bool first = true;
  for (const step::TokenLogprob& entry : best(position, n_top)) {
    if (!first) out += ',';
    first = false;
    append_named(out, names, entry);
    out += '}';
  }
  out += "]}";
}

void CompletionLogprobs::add(const TokenNames& names, int32_t token,
                             const step::PositionLogprobs* position) {
  if (n_++ > 0) {
    for (std::string* list : {&tokens_, &token_logprobs_, &top_logprobs_, &offsets_}) *list += ',';
  }
  append_json_string(tokens_, names.name(token));
  append_int(offsets_, offset_);
  offset_ += names.has_bytes() ? n_code_points(names.bytes(token)) : 0;
  if (position == nullptr) {
    token_logprobs_ += "null";
    top_logprobs_ += "null";
    return;
  }
  append_logprob(token_logprobs_, position->actual.logprob);
  top_logprobs_ += '{';
  const auto append = [&](const step::TokenLogprob& entry, bool first) {
    if (!first) top_logprobs_ += ',';
    append_json_string(top_logprobs_, names.name(entry.token));
    top_logprobs_ += ':';
    append_logprob(top_logprobs_, entry.logprob);
  };
  bool first = true;
  for (const step::TokenLogprob& entry : best(*position, n_top_)) {
    append(entry, first);
    first = false;
  }
  // The token itself is always among them, as clients that compare it with the best expect.
  if (!holds(best(*position, n_top_), position->actual.token)) append(position->actual, first);
  top_logprobs_ += '}';
}

void CompletionLogprobs::take(std::string& out) {
  out += R"({"tokens":[)" + tokens_ + R"(],"token_logprobs":[)" + token_logprobs_ +
         R"(],"top_logprobs":[)" + top_logprobs_ + R"(],"text_offset":[)" + offsets_ + "]}";
  n_ = 0;
  for (std::string* list : {&tokens_, &token_logprobs_, &top_logprobs_, &offsets_}) list->clear();
}

void append_prompt_logprobs(std::string& out, const TokenNames& names,
                            std::span<const step::PositionLogprobs> positions, int n_top) {
  out += "[null";
  for (const step::PositionLogprobs& position : positions) {
    out += ",{";
    const auto append = [&](const step::TokenLogprob& entry) {
      out += '"';
      append_int(out, entry.token);
      out += R"(":{"logprob":)";
      append_logprob(out, entry.logprob);
      out += R"(,"rank":)";
      append_int(out, entry.rank);
      out += R"(,"decoded_token":)";
      append_json_string(out, names.name(entry.token));
      out += '}';
    };
    append(position.actual);
    for (const step::TokenLogprob& entry : best(position, n_top)) {
      if (entry.token == position.actual.token) continue;
      out += ',';
      append(entry);
    }
    out += '}';
  }
  out += ']';
}

}  // namespace trireme::router
