// Text of a token stream, as soon as it is certain.
//
// `push` returns what can no longer change: only the bytes of an unfinished UTF-8 character are
// held back, so that what is returned is always valid UTF-8. pieces + flush = the whole text. One
// object per stream, not thread-safe; it shares the tokenizer's tables and costs a copy of the
// token's own bytes.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace trireme::text {

class Detokenizer {
 public:
  explicit Detokenizer(Tokenizer tokenizer, bool skip_special = true);

  // Ids that the tokenizer does not know contribute nothing.
  std::string push(int32_t id);
  // The stream is over: what was held back becomes U+FFFD. The object is then as new.
  std::string flush();
  // Bytes held back now, 0..3.
  size_t held_bytes() const { return held_.size(); }

 private:
  std::string push_bytes(int32_t id);
  std::string push_text(int32_t id);
  void strip(std::string* text);

  Tokenizer tokenizer_;
  const Decoder* decoder_;
  bool skip_special_;
  std::string held_;
  bool first_ = true;
  bool broken_run_ = false;  // a byte-fallback run that is already known not to be UTF-8
  uint32_t strip_left_;      // leading characters that may still be removed
};

}  // namespace trireme::text
