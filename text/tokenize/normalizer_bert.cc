// The normalizers that look at one character at a time: BertNormalizer, StripAccents and Nmt.
#include <algorithm>

#include "text/tokenize/normalizer.h"
#include "text/unicode/bert_classes.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// What becomes of a character.
constexpr char32_t kDropped = 0xFFFFFFFF;

// Rewrites character by character: `change(c)` is the new character, c itself, or kDropped. ASCII
// for which nothing changes is copied in one piece.
template <typename Change>
void map_characters(AlignedText* text, Change change) {
  const std::string_view old = text->text();
  const auto size = static_cast<uint32_t>(old.size());
  AlignedText::Builder builder(*text);
  std::string bytes;
  uint32_t done = 0;
  bool changed = false;
  for (uint32_t at = 0; at < size;) {
    const CodePoint c = decode_at(old, at);
    const char32_t to = change(c.value);
    if (to != c.value) {
      builder.keep(done, at);
      if (to != kDropped) {
        bytes.clear();
        append_utf8(to, &bytes);
        builder.put(bytes, at, at + c.length);
      }
      done = at + c.length;
      changed = true;
    }
    at += c.length;
  }
  if (!changed) return;
  builder.keep(done, size);
  text->replace_text(std::move(builder));
}

char32_t clean_bert(char32_t c) {
  if (c >= 0x20 && c < 0x7F) return c;
  if (c == '\t' || c == '\n' || c == '\r') return ' ';
  if (c == 0 || c == 0xFFFD || bert_drops(c)) return kDropped;
  return is_white_space(c) ? U' ' : c;
}

// The blocks that BERT's own code calls Chinese.
bool is_chinese(char32_t c) {
  return c >= 0x3400 && ((c >= 0x4E00 && c <= 0x9FFF) || c <= 0x4DBF ||
                         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x2A6DF) ||
                         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
                         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0x2F800 && c <= 0x2FA1F));
}

void pad_chinese(AlignedText* text) {
  const std::string_view old = text->text();
  const auto size = static_cast<uint32_t>(old.size());
  AlignedText::Builder builder(*text);
  uint32_t done = 0;
  for (uint32_t at = 0; at < size;) {
    const CodePoint c = decode_at(old, at);
    const uint32_t end = at + c.length;
    if (is_chinese(c.value)) {
      builder.keep(done, at);
      // All three stand for the character.
      builder.put(" ", at, end);
      builder.put(old.substr(at, c.length), at, end);
      builder.put(" ", at, end);
      done = end;
    }
    at = end;
  }
  if (done == 0) return;
  builder.keep(done, size);
  text->replace_text(std::move(builder));
}

class Bert final : public NormalizerStep {
 public:
  explicit Bert(const BertNormalizerOptions& options) : options_(options) {
    if (options.strip_accents) {
      nfd_ = make_unicode_form("NFD").value();
    }
    if (options.lowercase) lower_ = make_lowercase();
  }
  Status apply(AlignedText* text) const override {
    if (options_.clean_text) map_characters(text, clean_bert);
    if (options_.handle_chinese_chars) pad_chinese(text);
    if (nfd_ != nullptr) {
      TRY(nfd_->apply(text));
      map_characters(text, [](char32_t c) { return c >= 0x300 && bert_accent(c) ? kDropped : c; });
    }
    return lower_ != nullptr ? lower_->apply(text) : Status();
  }

 private:
  BertNormalizerOptions options_;
  std::unique_ptr<NormalizerStep> nfd_;
  std::unique_ptr<NormalizerStep> lower_;
};

class StripAccents final : public NormalizerStep {
 public:
  Status apply(AlignedText* text) const override {
    map_characters(text, [](char32_t c) { return strippable_mark(c) ? kDropped : c; });
    return {};
  }
};

char32_t clean_nmt(char32_t c) {
  if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
      c == 0x9F) {
    return kDropped;
  }
  if (c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D) return ' ';
  if (c < 0x1680) return c;
  return c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                 c == 0xFEFF || c == 0xFFFD
             ? U' '
             : c;
}

class Nmt final : public NormalizerStep {
 public:
  Status apply(AlignedText* text) const override {
    map_characters(text, clean_nmt);
    return {};
  }
};

}  // namespace

std::unique_ptr<NormalizerStep> make_bert_normalizer(const BertNormalizerOptions& options) {
  return std::make_unique<Bert>(options);
}
std::unique_ptr<NormalizerStep> make_strip_accents() { return std::make_unique<StripAccents>(); }
std::unique_ptr<NormalizerStep> make_nmt() { return std::make_unique<Nmt>(); }

}  // namespace trireme::text
