// Regular expressions of tokenizer files, run by PCRE2 with its JIT.
//
// A pattern is written for Oniguruma (Ruby syntax) and translated: \s, \d, \w, \h and \p{..} become
// the reference engine's own classes, Unicode 16 included, whatever tables the installed PCRE2 has.
// Matching is bounded: a pattern that backtracks without end is an error, never a hang. A Regex is
// immutable and thread-safe; a Matcher is not.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/tokenize/aligned_text.h"

namespace trireme::text {

inline constexpr size_t kMaxPatternBytes = 16384;

// The same pattern in PCRE2's syntax.
Result<std::string> translate_pattern(std::string_view pattern);

class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern);
  // A pattern that matches `literal` and nothing else.
  static Result<Regex> compile_literal(std::string_view literal);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Finds matches from left to right in one text, which must be valid UTF-8 and outlive it.
  class Matcher {
   public:
    Matcher(const Regex& regex, std::string_view text);
    ~Matcher();
    Matcher(const Matcher&) = delete;

    // The next match; false at the end of the text. Empty matches are reported once per place.
    Result<bool> next(ByteSpan* match);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace trireme::text
