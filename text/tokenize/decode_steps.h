// The steps of a tokenizer file's decoder, and what they make of one token's spelling.
//
// Pure and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenize/regex.h"

namespace trireme::text {

struct DecodeStep {
  enum class Kind {
    kReplace,       // `from` becomes `to`
    kReplaceRegex,  // every match of `regex` becomes `to`
    kStrip,         // up to `start` leading and `stop` trailing characters `from` go
    kMetaspace,     // `from` is a space, and goes from the first token when `flag`
    kWordPiece,     // `from` before a token joins it to the one before; clean-up when `flag`
    kBpeSuffix,     // `from` ends a word: a space, but nothing at the end of the text
    kCtc,           // repeats and pads (`from`) go; clean-up and `to` for a space when `flag`
  };
  Kind kind = Kind::kReplace;
  std::string from;
  std::string to;
  uint32_t start = 0;
  uint32_t stop = 0;
  bool flag = false;
  std::shared_ptr<const Regex> regex;
};

// Where a token stands among those that are decoded.
struct TokenPlace {
  bool first = false;
  bool last = false;
};

// `piece` after all steps.
std::string apply_decode_steps(const std::vector<DecodeStep>& steps, std::string_view piece,
                               TokenPlace place);

void replace_all(std::string* text, std::string_view from, std::string_view to);
// The clean-up of spaces before punctuation and English contractions, as the reference's decoders
// do it (`decoder`), or its Python layer.
void clean_up_spaces(std::string* text, bool decoder);

}  // namespace trireme::text
