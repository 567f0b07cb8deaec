// Which base of a dynamic NTK rotation turns a token.
//
// The base follows the length of the sequence once that is longer than the original context. The
// reference (Hugging Face's generate() with its cache) computes a prompt in one go, by the base of
// the prompt's length, then every further token by the base of the length that it makes, and keeps
// the keys that it has: so does this. A token's base is a function of the prompt's length and of
// its position alone, whatever a prompt is cut into and however often a sequence is computed again;
// and so are its keys, given the tokens before it. Only prompts longer than the original context,
// and of different lengths, have different keys for the same tokens.
#pragma once

#include <algorithm>
#include <cstdint>

namespace trireme::plan {

struct RopeGrowth {
  int32_t from = 0;  // tokens, the original context; 0: the model's rotation does not grow

  bool grows() const { return from > 0; }
  // The set among RopeSpec::inv_freq_sets() that turns the token at `position`.
  int32_t set_of(int32_t n_prompt, int32_t position) const {
    return std::max(0, std::max(n_prompt, position + 1) - from);
  }
  // Two sequences with equal tokens have equal keys when this is equal; 0 for a short prompt.
  int32_t key_class(int32_t n_prompt) const { return grows() && n_prompt > from ? n_prompt : 0; }
};

}  // namespace trireme::plan
