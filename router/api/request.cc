#include "router/api/request.h"

#include <fmt/format.h>

#include <limits>

#include "router/api/parse_fields.h"

namespace trireme::router {
namespace {

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

constexpr size_t kMaxEmbeddingInputs = 2048;  // OpenAI's own

// A list that starts with a number is one prompt of token ids.
void read_prompts(FieldReader& reader, const RequestBounds& bounds, const char* name,
                  size_t max_prompts, GenerationRequest* out) {
  const Json* prompt = reader.ok() ? reader.find(name) : nullptr;
  if (!reader.ok()) return;
  const auto refuse = [&](const std::string& message) { reader.fail(bad_request(message, name)); };
  if (prompt == nullptr) return refuse(fmt::format("{} is missing", name));
  const auto read_ids = [&](const Json& list) {
    std::vector<int32_t> ids;
    ids.reserve(list.size());
    for (const Json& entry : list) {
      const auto id = reader.integer_value(entry, fmt::format("each token id of {}", name).c_str(),
                                           0, bounds.vocab - 1, name);
      if (!id) return;
      ids.push_back(static_cast<int32_t>(*id));
    }
    out->prompts.emplace_back(std::move(ids));
  };
  if (prompt->is_string()) {
    out->prompts.emplace_back(prompt->get<std::string>());
    return;
  }
  if (!prompt->is_array() || prompt->empty()) {
    return refuse(fmt::format(
        "{} must be a string, a list of strings, a list of token ids or a list of such lists",
        name));
  }
  if (prompt->front().is_number()) return read_ids(*prompt);
  if (prompt->size() > max_prompts) {
    return refuse(fmt::format("{} has more than {} entries", name, max_prompts));
  }
  for (const Json& entry : *prompt) {
    if (entry.is_string()) {
      out->prompts.emplace_back(entry.get<std::string>());
    } else if (entry.is_array()) {
      read_ids(entry);
    } else {
      return refuse(fmt::format("{} must hold strings or lists of token ids", name));
    }
  }
}

}  // namespace

std::optional<ApiError> parse_chat_request(std::string_view body, const RequestBounds& bounds,
                                           GenerationRequest* out) {
  Json object;
  if (auto error = parse_body(body, bounds.limits, &object)) return error;
  FieldReader reader(object);
  out->chat = true;
  read_common_fields(reader, bounds, out);
  read_chat_fields(reader, bounds, out);
  if (reader.boolean("echo").value_or(false)) {
    reader.fail(not_implemented("echo is served for completions only", "echo"));
  }
  const auto deprecated = reader.integer("max_tokens", 1, kMaxInt64);
  out->max_tokens = reader.integer("max_completion_tokens", 1, kMaxInt64);
  if (!out->max_tokens) out->max_tokens = deprecated;
  const bool logprobs = reader.boolean("logprobs").value_or(false);
  const auto top = reader.integer("top_logprobs", 0, bounds.limits.top_logprobs);
  if (top && *top > 0 && !logprobs) {
    reader.fail(bad_request("top_logprobs needs logprobs: true", "top_logprobs"));
  }
  if (logprobs) out->n_logprobs = static_cast<int32_t>(top.value_or(0));
  return reader.error();
}

std::optional<ApiError> parse_completion_request(std::string_view body, const RequestBounds& bounds,
                                                 GenerationRequest* out) {
  Json object;
  if (auto error = parse_body(body, bounds.limits, &object)) return error;
  FieldReader reader(object);
  out->chat = false;
  read_common_fields(reader, bounds, out);
  if (reader.find("prompt_embeds") != nullptr) {
    reader.fail(not_implemented("prompt_embeds is not served", "prompt_embeds"));
  }
  read_prompts(reader, bounds, "prompt", static_cast<size_t>(bounds.limits.n), out);
  out->echo = reader.boolean("echo").value_or(false);
  out->max_tokens = reader.integer("max_tokens", 0, kMaxInt64).value_or(16);
  if (*out->max_tokens == 0 && !out->echo && out->n_prompt_logprobs < 0) {
    reader.fail(bad_request("max_tokens 0 is for echo or prompt_logprobs", "max_tokens"));
  }
  // Chat clients send a boolean here; the completions format counts.
  if (const Json* logprobs = reader.find("logprobs");
      logprobs != nullptr && logprobs->is_boolean()) {
    reader.fail(bad_request("logprobs must be an integer", "logprobs"));
  }
  out->n_logprobs =
      static_cast<int32_t>(reader.integer("logprobs", 0, bounds.limits.top_logprobs).value_or(-1));
  if (out->echo && out->n_logprobs >= 0) {
    out->n_prompt_logprobs = std::max(out->n_prompt_logprobs, out->n_logprobs);
  }
  const auto sequences = static_cast<int64_t>(out->prompts.size()) * out->n;
  if (reader.ok() && sequences > bounds.limits.n) {
    reader.fail(bad_request(
        fmt::format("prompts x n is {}; at most {} are served at once", sequences, bounds.limits.n),
        "n"));
  }
  return reader.error();
}

std::optional<ApiError> parse_embedding_request(std::string_view body, const RequestBounds& bounds,
                                                GenerationRequest* out) {
  Json object;
  if (auto error = parse_body(body, bounds.limits, &object)) return error;
  FieldReader reader(object);
  out->embed = true;
  out->max_tokens = 0;
  out->model = reader.string("model", 512).value_or("");
  out->user = reader.string("user", 512).value_or("");
  out->add_special_tokens = reader.boolean("add_special_tokens");
  out->priority = static_cast<int32_t>(reader
                                           .integer("priority", std::numeric_limits<int32_t>::min(),
                                                    std::numeric_limits<int32_t>::max())
                                           .value_or(0));
  const std::string format = reader.string("encoding_format", 64).value_or("float");
  out->base64 = format == "base64";
  if (!out->base64 && format != "float") {
    reader.fail(bad_request("encoding_format must be float or base64", "encoding_format"));
  }
  if (reader.find("dimensions") != nullptr) {
    reader.fail(bad_request("this model's vectors have one width: dimensions cannot be chosen",
                            "dimensions"));
  }
  read_prompts(reader, bounds, "input", kMaxEmbeddingInputs, out);
  return reader.error();
}

std::optional<ApiError> parse_tokenize_request(std::string_view body, const RequestBounds& bounds,
                                               TokenizeRequest* out) {
  Json object;
  if (auto error = parse_body(body, bounds.limits, &object)) return error;
  FieldReader reader(object);
  out->model = reader.string("model", 512).value_or("");
  out->return_token_strs = reader.boolean("return_token_strs").value_or(false);
  if (reader.find("messages") != nullptr) {
    out->chat.chat = true;
    read_chat_fields(reader, bounds, &out->chat);
    out->add_special_tokens = reader.boolean("add_special_tokens").value_or(false);
  } else {
    out->prompt = reader.string("prompt", static_cast<size_t>(bounds.limits.body_bytes));
    if (reader.ok() && !out->prompt) reader.fail(bad_request("prompt is missing", "prompt"));
    out->add_special_tokens = reader.boolean("add_special_tokens").value_or(true);
  }
  return reader.error();
}

std::optional<ApiError> parse_detokenize_request(std::string_view body, const RequestBounds& bounds,
                                                 DetokenizeRequest* out) {
  Json object;
  if (auto error = parse_body(body, bounds.limits, &object)) return error;
  FieldReader reader(object);
  out->model = reader.string("model", 512).value_or("");
  if (reader.find("tokens") == nullptr) reader.fail(bad_request("tokens is missing", "tokens"));
  out->tokens = reader.ids("tokens", bounds.vocab, static_cast<size_t>(bounds.limits.body_bytes));
  out->skip_special_tokens = reader.boolean("skip_special_tokens").value_or(false);
  return reader.error();
}

}  // namespace trireme::router
