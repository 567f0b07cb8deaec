// The pre-tokenizer of a tokenizer file: cuts normalized text into the words that the model sees.
//
// Immutable after load, thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenize/aligned_text.h"

namespace trireme::text {

// A stretch of text between added tokens, and the words in it, from left to right.
struct Words {
  AlignedText text;
  std::vector<ByteSpan> spans;
};

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual Status apply(Words* words) const = 0;
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kAlways, kFirst, kNever };

Result<SplitBehavior> split_behavior(std::string_view name);

using PreTokenizerSteps = std::vector<std::unique_ptr<PreTokenizerStep>>;

// The steps. Their meaning is that of the reference library's pre-tokenizers of the same names.
Result<std::unique_ptr<PreTokenizerStep>> make_split(std::string_view pattern, bool is_regex,
                                                     SplitBehavior behavior, bool invert);
std::unique_ptr<PreTokenizerStep> make_metaspace(std::string replacement, PrependScheme scheme,
                                                 bool split);
// SentencePiece's escaping: every space becomes its mark, and one more goes before the beginning of
// the input, even if the input begins with a space.
std::unique_ptr<PreTokenizerStep> make_dummy_prefix(bool add_prefix);
std::unique_ptr<PreTokenizerStep> make_digits(bool each);
std::unique_ptr<PreTokenizerStep> make_whitespace_split();
std::unique_ptr<PreTokenizerStep> make_punctuation(SplitBehavior behavior);
std::unique_ptr<PreTokenizerStep> make_delimiter_split(char32_t delimiter);
std::unique_ptr<PreTokenizerStep> make_bert_split();
std::unique_ptr<PreTokenizerStep> make_words_and_signs();  // Whitespace
std::unique_ptr<PreTokenizerStep> make_fixed_length(size_t n_chars);
// Words become their bytes in the byte alphabet. Only where something other than a byte-level BPE
// comes behind, which needs no such spelling.
std::unique_ptr<PreTokenizerStep> make_byte_alphabet();
// ByteLevel with add_prefix_space: a space before a word that has none.
std::unique_ptr<PreTokenizerStep> make_prefix_space();

}  // namespace trireme::text
