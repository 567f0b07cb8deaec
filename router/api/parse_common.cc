#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "router/api/parse_fields.h"

namespace trireme::router {
namespace {

constexpr size_t kMaxNameBytes = 512;
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

void read_response_format(FieldReader& reader) {
  const Json* format = reader.find("response_format");
  if (format == nullptr) return;
  const auto type = format->is_object() ? format->find("type") : format->end();
  if (!format->is_object() || type == format->end() || !type->is_string()) {
    reader.fail(bad_request("response_format must be an object with a type", "response_format"));
  } else if (*type != "text") {
    reader.fail(
        not_implemented("response_format other than text is not served", "response_format"));
  }
}

void read_sampling(FieldReader& reader, const RequestBounds& bounds, SamplingFields* out) {
  out->temperature = reader.number("temperature", 0, 2);
  out->top_p = reader.number("top_p", 0, 1);
  if (out->top_p == 0.0) reader.fail(bad_request("top_p must be above 0 and at most 1", "top_p"));
  out->min_p = reader.number("min_p", 0, 1);
  out->presence_penalty = reader.number("presence_penalty", -2, 2);
  out->frequency_penalty = reader.number("frequency_penalty", -2, 2);
  out->repetition_penalty = reader.number("repetition_penalty", 0, 10);
  if (out->repetition_penalty && *out->repetition_penalty < 1e-3) {
    reader.fail(bad_request("repetition_penalty must be at least 0.001", "repetition_penalty"));
  }
  out->top_k = reader.integer("top_k", -1, kMaxInt32);
  out->seed = reader.integer("seed", std::numeric_limits<int64_t>::min(),
                             std::numeric_limits<int64_t>::max());
  out->allowed_token_ids =
      reader.ids("allowed_token_ids", bounds.vocab, static_cast<size_t>(std::max(1, bounds.vocab)));
  if (reader.find("allowed_token_ids") != nullptr && out->allowed_token_ids.empty()) {
    reader.fail(bad_request("allowed_token_ids must not be empty", "allowed_token_ids"));
  }
}

void read_logit_bias(FieldReader& reader, const RequestBounds& bounds, SamplingFields* out) {
  const Json* bias = reader.ok() ? reader.find("logit_bias") : nullptr;
  if (bias == nullptr) return;
  if (!bias->is_object()) {
    return reader.fail(
        bad_request("logit_bias must be an object of token id to number", "logit_bias"));
  }
  if (bias->size() > static_cast<size_t>(bounds.limits.logit_bias_entries)) {
    return reader.fail(bad_request(
        fmt::format("logit_bias has more than {} entries", bounds.limits.logit_bias_entries),
        "logit_bias"));
  }
  for (const auto& [key, value] : bias->items()) {
    int32_t id = -1;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (end.ec != std::errc() || end.ptr != key.data() + key.size() || id < 0 ||
        id >= bounds.vocab) {
      return reader.fail(
          bad_request(fmt::format("each key of logit_bias must be a token id between 0 and {}",
                                  bounds.vocab - 1),
                      "logit_bias"));
    }
    const double v = value.is_number() ? value.get<double>() : std::nan("");
    if (!(v >= -100 && v <= 100)) {
      return reader.fail(
          bad_request("each value of logit_bias must be between -100 and 100", "logit_bias"));
    }
    out->logit_bias.emplace_back(id, static_cast<float>(v));
  }
}

// A string or a list of strings, none empty.
std::vector<std::string> read_strings(FieldReader& reader, const char* name, bool list_only,
                                      size_t max_count, size_t max_bytes) {
  std::vector<std::string> out;
  const Json* value = reader.ok() ? reader.find(name) : nullptr;
  if (value == nullptr) return out;
  const auto add = [&](const Json& entry) {
    if (!entry.is_string()) {
      return reader.fail(bad_request(fmt::format("{} must hold strings", name), name));
    }
    const auto& text = entry.get_ref<const std::string&>();
    if (text.empty()) {
      return reader.fail(bad_request(fmt::format("{} must not hold an empty string", name), name));
    }
    if (text.size() > max_bytes) {
      return reader.fail(bad_request(
          fmt::format("a string of {} is longer than {} bytes", name, max_bytes), name));
    }
    out.push_back(text);
  };
  if (value->is_string() && !list_only) {
    add(*value);
  } else if (!value->is_array()) {
    reader.fail(bad_request(fmt::format("{} must be a list of strings", name), name));
  } else if (value->size() > max_count) {
    reader.fail(bad_request(fmt::format("{} has more than {} entries", name, max_count), name));
  } else {
    for (const Json& entry : *value) add(entry);
  }
  return out;
}

void read_stops(FieldReader& reader, const RequestBounds& bounds, GenerationRequest* out) {
  const auto count = static_cast<size_t>(bounds.limits.stop_count);
  const auto bytes = static_cast<size_t>(bounds.limits.stop_bytes);
  out->stop = read_strings(reader, "stop", false, count, bytes);
  out->sampling.bad_words = read_strings(reader, "bad_words", true, count, bytes);
  out->stop_token_ids = reader.ids("stop_token_ids", bounds.vocab, 256);
  out->include_stop_str_in_output = reader.boolean("include_stop_str_in_output").value_or(false);
  out->ignore_eos = reader.boolean("ignore_eos").value_or(false);
  out->skip_special_tokens = reader.boolean("skip_special_tokens").value_or(true);
}

void read_stream(FieldReader& reader, GenerationRequest* out) {
  out->stream = reader.boolean("stream").value_or(false);
  const Json* options = reader.ok() ? reader.find("stream_options") : nullptr;
  if (options == nullptr) return;
  if (!options->is_object()) {
    return reader.fail(bad_request("stream_options must be an object", "stream_options"));
  }
  if (!out->stream) {
    return reader.fail(bad_request("stream_options is for stream: true", "stream_options"));
  }
  FieldReader inner(*options);
  out->include_usage = inner.boolean("include_usage").value_or(false);
  out->continuous_usage_stats = inner.boolean("continuous_usage_stats").value_or(false);
  if (!inner.ok()) reader.fail(*inner.error());
}

}  // namespace

std::optional<ApiError> parse_body(std::string_view body, const LimitConfig& limits, Json* object) {
  JsonLimits json_limits;
  json_limits.max_bytes = static_cast<size_t>(limits.body_bytes);
  json_limits.max_depth = limits.json_depth;
  json_limits.max_keys = static_cast<size_t>(limits.json_keys);
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return bad_request("the body is empty: a JSON object is expected");
  }
  auto parsed = parse_json(body, json_limits);
  if (!parsed.ok()) return bad_request("the body is " + parsed.error().message);
  if (!parsed->is_object()) return bad_request("the body must be a JSON object");
  *object = std::move(*parsed);
  return std::nullopt;
}

void read_common_fields(FieldReader& reader, const RequestBounds& bounds, GenerationRequest* out) {
  const LimitConfig& limits = bounds.limits;
  if (reader.find("suffix") != nullptr) {
    reader.fail(bad_request("suffix (insertion) is not supported by this model", "suffix"));
  }
  refuse_unserved_fields(reader);
  read_response_format(reader);
  out->model = reader.string("model", kMaxNameBytes).value_or("");
  out->n = static_cast<int32_t>(reader.integer("n", 1, limits.n).value_or(1));
  if (const auto best_of = reader.integer("best_of", 1, kMaxInt32); best_of && *best_of != out->n) {
    reader.fail(not_implemented("best_of other than n is not served", "best_of"));
  }
  out->min_tokens = static_cast<int32_t>(
      reader.integer("min_tokens", 0, std::max(0, bounds.context)).value_or(0));
  read_sampling(reader, bounds, &out->sampling);
  read_logit_bias(reader, bounds, &out->sampling);
  read_stops(reader, bounds, out);
  read_stream(reader, out);
  out->n_prompt_logprobs =
      static_cast<int32_t>(reader.integer("prompt_logprobs", -1, limits.top_logprobs).value_or(-1));
  if (out->stream && out->n_prompt_logprobs >= 0) {
    reader.fail(bad_request("prompt_logprobs are not sent in a stream", "prompt_logprobs"));
  }
  out->return_token_ids = reader.boolean("return_token_ids").value_or(false);
  out->return_tokens_as_token_ids = reader.boolean("return_tokens_as_token_ids").value_or(false);
  out->add_special_tokens = reader.boolean("add_special_tokens");
  if (const auto k = reader.integer("truncate_prompt_tokens", -1, kMaxInt32)) {
    out->truncate_prompt_tokens = static_cast<int32_t>(*k);
    if (*k == 0) {
      reader.fail(
          bad_request("truncate_prompt_tokens must be -1 or at least 1", "truncate_prompt_tokens"));
    }
  }
  out->priority = static_cast<int32_t>(
      reader.integer("priority", std::numeric_limits<int32_t>::min(), kMaxInt32).value_or(0));
  out->cache_salt = reader.string("cache_salt", kMaxNameBytes).value_or("");
  out->user = reader.string("user", kMaxNameBytes).value_or("");
}

}  // namespace trireme::router
