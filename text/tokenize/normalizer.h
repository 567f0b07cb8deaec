// The normalizer of a tokenizer file: a list of text rewrites, applied before anything is split.
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

class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual Status apply(AlignedText* text) const = 0;
};

using NormalizerSteps = std::vector<std::unique_ptr<NormalizerStep>>;

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(NormalizerSteps steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }
  Status apply(AlignedText* text) const;
  // The text alone.
  Result<std::string> apply(std::string_view text) const;

 private:
  NormalizerSteps steps_;
};

// The steps, one function each. Their meaning is that of the reference library's normalizers of the
// same names.
std::unique_ptr<NormalizerStep> make_prepend(std::string prefix);
Result<std::unique_ptr<NormalizerStep>> make_replace(std::string_view pattern, bool is_regex,
                                                     std::string content);
Result<std::unique_ptr<NormalizerStep>> make_unicode_form(std::string_view name);  // "NFC", ...
std::unique_ptr<NormalizerStep> make_lowercase();
std::unique_ptr<NormalizerStep> make_strip(bool left, bool right);
std::unique_ptr<NormalizerStep> make_strip_accents();
std::unique_ptr<NormalizerStep> make_nmt();
// Text becomes its bytes in the byte alphabet (text/tokenize/byte_alphabet.h).
std::unique_ptr<NormalizerStep> make_byte_level();

struct BertNormalizerOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<NormalizerStep> make_bert_normalizer(const BertNormalizerOptions& options);

// Appends bytes [range.begin, range.end) of `text` in the byte alphabet.
void append_byte_alphabet(std::string_view text, ByteSpan range, AlignedText::Builder* builder);

// SentencePiece's remove_extra_whitespaces: no space at either end, no two in a row.
std::unique_ptr<NormalizerStep> make_squeeze_spaces();

}  // namespace trireme::text
