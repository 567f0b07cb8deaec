#include "coordinator/request/validate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace trireme::coordinator {

namespace {

constexpr int32_t kMaxLogprobs = 1024;
constexpr size_t kMaxStopTokenIds = 4096;

Status check_ids(const std::vector<int32_t>& ids, const char* field, int32_t vocab) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab) {
      return invalid_argument(
          fmt::format("{}: token id {} is outside the vocabulary of {} tokens", field, id, vocab));
    }
  }
  return {};
}

Status check_number(const char* field, float value, float low, float high) {
  if (std::isfinite(value) && value >= low && value <= high) return {};
  return invalid_argument(
      fmt::format("{} is {}, and must be between {} and {}", field, value, low, high));
}

Status check_sampling(const step::SamplingParams& s, int32_t vocab) {
  constexpr float kBig = 1e6F;
  TRY(check_number("temperature", s.temperature, 0, kBig));
  TRY(check_number("top_p", s.top_p, 0, 1));
  TRY(check_number("min_p", s.min_p, 0, 1));
  TRY(check_number("presence_penalty", s.presence_penalty, -kBig, kBig));
  TRY(check_number("frequency_penalty", s.frequency_penalty, -kBig, kBig));
  TRY(check_number("repetition_penalty", s.repetition_penalty, 1e-6F, kBig));
  if (s.top_k < 0) return invalid_argument(fmt::format("top_k is {}, and must be >= 0", s.top_k));
  if (s.min_tokens < 0) {
    return invalid_argument(fmt::format("min_tokens is {}, and must be >= 0", s.min_tokens));
  }
  for (const int32_t n : {s.n_logprobs, s.n_prompt_logprobs}) {
    if (n < -1 || n > std::min(vocab, kMaxLogprobs)) {
      return invalid_argument(fmt::format("{} logprobs are asked for, and at most {} are given", n,
                                          std::min(vocab, kMaxLogprobs)));
    }
  }
  for (const auto& [id, bias] : s.logit_bias) {
    TRY(check_ids({id}, "logit_bias", vocab));
    if (!std::isfinite(bias)) {
      return invalid_argument(fmt::format("logit_bias of token {} is not a number", id));
    }
  }
  TRY(check_ids(s.allowed_token_ids, "allowed_token_ids", vocab));
  return check_ids(s.banned_until_min_tokens, "banned_until_min_tokens", vocab);
}

}  // namespace

int32_t SubmitLimits::context() const { return std::min(model_context, pool_context); }

namespace {

Status check_purpose(const wire::Submit& submit, bool encoder) {
  if (submit.embed && !encoder) {
    return invalid_argument("the model makes tokens and no embeddings");
  }
  if (!submit.embed && encoder) {
    return invalid_argument("the model makes embeddings and no tokens");
  }
  const bool tokens_wanted =
      submit.max_tokens != 0 || submit.sampling.n_prompt_logprobs >= 0 ||
      submit.tokens.size() != static_cast<size_t>(std::max(0, submit.n_prompt));
  if (submit.embed && tokens_wanted) {
    return invalid_argument("a request for an embedding asks for tokens besides");
  }
  return {};
}

}  // namespace

Status validate(const wire::Submit& submit, const SubmitLimits& limits) {
  TRY(check_purpose(submit, limits.encoder));
  const auto n_tokens = static_cast<int64_t>(submit.tokens.size());
  if (submit.n_prompt < 1) return invalid_argument("the prompt has no tokens");
  if (submit.n_prompt > n_tokens) {
    return invalid_argument(
        fmt::format("n_prompt is {}, and there are only {} tokens", submit.n_prompt, n_tokens));
  }
  if (submit.max_tokens < 0) {
    return invalid_argument(fmt::format("max_tokens is {}, and must be >= 0", submit.max_tokens));
  }
  const int64_t n_needed = int64_t{submit.n_prompt} + (submit.max_tokens > 0 ? 1 : 0);
  if (n_needed > limits.model_context) {
    return invalid_argument(
        fmt::format("a prompt of {} tokens does not fit the model's context of {} tokens",
                    submit.n_prompt, limits.model_context));
  }
  if (n_needed > limits.context()) {
    return invalid_argument(
        fmt::format("a prompt of {} tokens needs {} KV blocks of {} tokens, and the replica has {}",
                    submit.n_prompt, limits.budget->most_blocks(n_needed),
                    limits.budget->block_size(), limits.n_kv_blocks));
  }
  const int64_t most =
      std::min<int64_t>(int64_t{submit.n_prompt} + submit.max_tokens, limits.context());
  if (n_tokens > most) {
    return invalid_argument(
        fmt::format("{} tokens are resumed, and prompt, max_tokens and context allow {}",
                    n_tokens - submit.n_prompt, most - submit.n_prompt));
  }
  TRY(check_ids(submit.tokens, "tokens", limits.vocab));
  if (submit.stop_token_ids.size() > kMaxStopTokenIds) {
    return invalid_argument(fmt::format("{} stop_token_ids are given, and at most {} are taken",
                                        submit.stop_token_ids.size(), kMaxStopTokenIds));
  }
  return check_sampling(submit.sampling, limits.vocab);
}

}  // namespace trireme::coordinator
