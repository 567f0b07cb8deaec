#include "worker/sample/logit_rules.h"

#include <algorithm>
#include <limits>

namespace trireme::worker {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

bool bans_now(const step::SamplingParams& params, int32_t n_outputs) {
  return n_outputs < params.min_tokens && !params.banned_until_min_tokens.empty();
}

}  // namespace

bool TokenCounts::needed(const step::SamplingParams& params) {
  return params.presence_penalty != 0 || params.frequency_penalty != 0 ||
         params.repetition_penalty != 1;
}

void TokenCounts::update(std::span<const int32_t> tokens, int32_t n_prompt) {
  for (; n_counted_ < tokens.size(); ++n_counted_) {
    Count& count = counts_[tokens[n_counted_]];
    if (n_counted_ >= static_cast<size_t>(n_prompt)) ++count.n_output;
  }
}

bool has_no_rules(const step::SamplingParams& params, int32_t n_outputs) {
  return params.logit_bias.empty() && params.allowed_token_ids.empty() &&
         !bans_now(params, n_outputs) && !TokenCounts::needed(params);
}

bool may_mask(const step::SamplingParams& params) {
  return !params.allowed_token_ids.empty() || !params.banned_until_min_tokens.empty() ||
         !params.logit_bias.empty();
}

void apply_rules(const step::SamplingParams& params, const TokenCounts& counts, int32_t n_outputs,
                 int32_t first_id, std::span<float> row, std::vector<float>& allowed_values) {
  const auto value_of = [&](int32_t token) -> float* {
    const int64_t i = int64_t{token} - first_id;
    return i >= 0 && i < static_cast<int64_t>(row.size()) ? &row[static_cast<size_t>(i)] : nullptr;
  };
  for (const auto& [token, bias] : params.logit_bias) {
    if (float* value = value_of(token)) *value += bias;
  }
  if (TokenCounts::needed(params)) {
    const float repetition = params.repetition_penalty;
    for (const auto& [token, count] : counts.counts()) {
      float* value = value_of(token);
      if (value == nullptr) continue;
      if (repetition != 1) *value = *value > 0 ? *value / repetition : *value * repetition;
      if (count.n_output > 0) {
        *value -= params.frequency_penalty * static_cast<float>(count.n_output);
        *value -= params.presence_penalty;
      }
    }
  }
  if (!params.allowed_token_ids.empty()) {
    allowed_values.clear();
    for (const int32_t token : params.allowed_token_ids) {
      const float* value = value_of(token);
      allowed_values.push_back(value == nullptr ? kMasked : *value);
    }
    std::fill(row.begin(), row.end(), kMasked);
    for (size_t i = 0; i < allowed_values.size(); ++i) {
      if (float* value = value_of(params.allowed_token_ids[i])) *value = allowed_values[i];
    }
  }
  if (bans_now(params, n_outputs)) {
    for (const int32_t token : params.banned_until_min_tokens) {
      if (float* value = value_of(token)) *value = kMasked;
    }
  }
}

}  // namespace trireme::worker
