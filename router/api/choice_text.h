// ChoiceText: the text of one choice, token by token: detokenizer, stop strings and what is hidden
// from the client.
//
// One per sequence, not thread-safe. Never half a character, never a byte of a stop string (unless
// asked for). Without a tokenizer every text is empty.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/detokenizer.h"
#include "text/stop_matcher.h"

namespace trireme::router {

struct ChoiceTextOptions {
  const text::Tokenizer* tokenizer = nullptr;  // null: none
  bool skip_special_tokens = true;
  std::vector<std::string> stop;
  bool include_stop = false;  // stop strings and stop tokens are part of the text
  int32_t min_tokens = 0;     // stop strings count from there on
};

class ChoiceText {
 public:
  // The last prompt ids tell the detokenizer that it is not at the beginning of a text.
  static Result<ChoiceText> create(const ChoiceTextOptions& options,
                                   std::span<const int32_t> prompt);

  struct Step {
    size_t n_tokens = 0;   // taken: fewer than given where a stop string is complete
    int stop_string = -1;  // its index
  };
  // Appends the text that is certain now. `stop_token` is the id that ended the sequence (the last
  // of `tokens`), or -1.
  Step push(std::span<const int32_t> tokens, int32_t stop_token, std::string& out);
  // The sequence ended without a stop string: what was held back is certain after all, unless it
  // completes one now.
  int finish(std::string& out);

 private:
  ChoiceText(const ChoiceTextOptions& options, std::optional<text::Detokenizer> detokenizer,
             text::StopMatcher matcher);
  int emit(std::string_view text, std::string& out);

  bool include_stop_;
  bool has_stops_;
  int32_t min_tokens_;
  int32_t n_tokens_ = 0;
  std::optional<text::Detokenizer> detokenizer_;
  text::StopMatcher matcher_;
};

}  // namespace trireme::router
