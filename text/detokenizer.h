// Text of a token stream, as soon as it is certain.
//
// `push` returns what can no longer change: only the bytes of an unfinished UTF-8 character are
// held back (and, for the few decoders that treat the last token differently, that token), so that
// what is returned is always valid UTF-8. pieces + flush = the whole text. One object per stream,
// not thread-safe; it shares the tokenizer's tables and costs a copy of the token's own bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace trireme::text {

class DecodeRun;

class Detokenizer {
 public:
  explicit Detokenizer(Tokenizer tokenizer, bool skip_special = true);
  ~Detokenizer();
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;
  Detokenizer(const Detokenizer& other);
  Detokenizer& operator=(const Detokenizer& other);

  // Ids that the tokenizer does not know contribute nothing.
  std::string push(int32_t id);
  // The stream is over: what was held back becomes U+FFFD. The object is then as new.
  std::string flush();
  // Bytes of an unfinished character held back now, 0..3.
  size_t held_bytes() const;

 private:
  Tokenizer tokenizer_;
  std::unique_ptr<DecodeRun> run_;
};

}  // namespace trireme::text
