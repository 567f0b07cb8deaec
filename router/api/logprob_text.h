// Tokens and log-probabilities as the two OpenAI formats write them.
//
// A token is named by its text; where its bytes are no text on their own, as "bytes:\xe2\x80"; and
// where the client asked for ids, or the model has no tokenizer, as "token_id:123". Pure, appends
// to strings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "parallel/step/step_plan.h"
#include "text/tokenizer.h"

namespace trireme::router {

class TokenNames {
 public:
  // `tokenizer` may be null and must outlive this.
  TokenNames(const text::Tokenizer* tokenizer, bool as_ids)
      : tokenizer_(tokenizer), as_ids_(as_ids) {}

  std::string name(int32_t id) const;
  // The bytes that the token stands for; empty without a tokenizer.
  std::string bytes(int32_t id) const;
  bool has_bytes() const { return tokenizer_ != nullptr; }

 private:
  const text::Tokenizer* tokenizer_;
  bool as_ids_;
};

// Chat: {"token","logprob","bytes","top_logprobs":[...]} of one position, of the `n_top` best.
void append_chat_logprob(std::string& out, const TokenNames& names,
                         const step::PositionLogprobs& position, int n_top);

// Completions: {"tokens","token_logprobs","top_logprobs","text_offset"}, gathered position by
// position.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(int n_top) : n_top_(n_top) {}

  bool empty() const { return n_ == 0; }
  // `position` is null for the first prompt token, whose probability nothing says.
  void add(const TokenNames& names, int32_t token, const step::PositionLogprobs* position);
  // Appends the object and forgets it; text offsets go on from where they were.
  void take(std::string& out);

 private:
  int n_top_;
  int n_ = 0;
  int64_t offset_ = 0;  // in code points of the named tokens so far
  std::string tokens_, token_logprobs_, top_logprobs_, offsets_;
};

// prompt_logprobs: [null, {"id": {"logprob","rank","decoded_token"}, ...}, ...], one entry per
// prompt token.
void append_prompt_logprobs(std::string& out, const TokenNames& names,
                            std::span<const step::PositionLogprobs> positions, int n_top);

}  // namespace trireme::router
