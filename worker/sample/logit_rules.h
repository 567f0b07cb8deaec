// What a request does to its logits before it samples: bias, penalties, masks. Pure, host-side.
//
// Order: logit_bias, repetition penalty, frequency and presence penalties, allowed ids, ids banned
// before min_tokens. Repetition counts prompt and output tokens and divides positive logits,
// multiplies negative ones (Keskar et al., arXiv:1909.05858, sec. 4.1); frequency and presence
// count output tokens only and subtract, as the OpenAI API says.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "parallel/step/step_plan.h"

namespace trireme::worker {

// How often each token of a sequence occurred. Kept up to date as tokens become known; empty unless
// penalties need it.
class TokenCounts {
 public:
  struct Count {
    int32_t n_output = 0;  // occurrences behind the prompt
  };

  static bool needed(const step::SamplingParams& params);
  // Counts tokens[n_counted..]: call it whenever tokens were appended.
  void update(std::span<const int32_t> tokens, int32_t n_prompt);
  const std::unordered_map<int32_t, Count>& counts() const { return counts_; }

 private:
  std::unordered_map<int32_t, Count> counts_;
  size_t n_counted_ = 0;
};

// True when the rules leave the row as it is.
bool has_no_rules(const step::SamplingParams& params, int32_t n_outputs);
// True when some token may be masked, so that a row may end up with no token at all.
bool may_mask(const step::SamplingParams& params);

// Applies the rules to one rank's slice of a row. `allowed_values` is scratch.
void apply_rules(const step::SamplingParams& params, const TokenCounts& counts, int32_t n_outputs,
                 int32_t first_id, std::span<float> row, std::vector<float>& allowed_values);

}  // namespace trireme::worker
