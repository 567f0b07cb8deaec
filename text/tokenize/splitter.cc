#include "text/tokenize/splitter.h"

#include <iterator>

#include "base/check.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

struct Known {
  FastSplitter splitter;
  std::string_view pattern;
};

constexpr Known kKnown[] = {
    {FastSplitter::kGpt2, kGpt2Pattern},
    {FastSplitter::kLlama3, kLlama3Pattern},
    {FastSplitter::kQwen2, kQwen2Pattern},
    {FastSplitter::kO200k,
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {FastSplitter::kTekken,
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {FastSplitter::kDeepseekDigits, R"(\p{N}{1,3})"},
    {FastSplitter::kDeepseekKana, "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"},
    {FastSplitter::kDeepseekWords,
     R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {FastSplitter::kKimi, kKimiPattern},
};

constexpr uint16_t kWordish = kLetter | kNumber | kSpace;  // what [^\s\p{L}\p{N}] leaves out
constexpr uint16_t kMarked = kLetter | kMark;
constexpr uint16_t kSigns = kPunctuation | kSymbol;

// Looks at the characters of a text up to an end.
class Scanner {
 public:
  Scanner(std::string_view text, uint32_t end) : text_(text.substr(0, end)) {}

  // Class bits of the character at `at`, and its length; no bits at the end of the text.
  uint16_t peek(uint32_t at, uint32_t* length) const {
    if (at >= text_.size()) {
      *length = 0;
      return 0;
    }
    const auto lead = static_cast<unsigned char>(text_[at]);
    if (lead < 0x80) {
      *length = 1;
      return ascii_[lead];
    }
    const CodePoint c = decode_multibyte(text_, at);
    *length = c.length;
    return table_.bits(c.value);
  }

  // The end of the run from `at` on of characters for whose bits `wanted` is true.
  template <typename Wanted>
  uint32_t run(uint32_t at, Wanted wanted) const {
    uint32_t length = 0;
    while (at < text_.size() && wanted(peek(at, &length))) at += length;
    return at;
  }
  uint32_t skip(uint32_t at, uint16_t mask) const {
    return run(at, [mask](uint16_t bits) { return (bits & mask) != 0; });
  }
  uint32_t skip_others(uint32_t at) const {
    return run(at, [](uint16_t bits) { return (bits & kWordish) == 0; });
  }

  // \s+(?!\S)|\s+ : all white space but the last character, unless it ends the text or stands
  // alone.
  uint32_t spaces(uint32_t at) const {
    uint32_t length = 0;
    uint32_t last = at;
    uint32_t end = at;
    while (end < text_.size() && (peek(end, &length) & kSpace) != 0) {
      last = end;
      end += length;
    }
    return end == text_.size() || last == at ? end : last;
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+
  uint32_t spaces_or_newlines(uint32_t at) const {
    uint32_t length = 0;
    uint32_t newline_end = at;
    for (uint32_t end = at; end < text_.size(); end += length) {
      const uint16_t bits = peek(end, &length);
      if ((bits & kSpace) == 0) break;
      if ((bits & kLineBreak) != 0) newline_end = end + length;
    }
    return newline_end != at ? newline_end : spaces(at);
  }

  // 's 't 're 've 'm 'll 'd from the apostrophe at `at`; its end, or `at` when there is none.
  uint32_t contraction(uint32_t at, bool any_case) const {
    const auto letter = [&](uint32_t i) -> char {
      if (i >= text_.size()) return 0;
      const char c = text_[i];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char first = letter(at + 1);
    const char second = letter(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
    if (first == 'l' && second == 'l') return at + 3;
    // U+017F, the long s, is an s when case does not matter.
    if (any_case && text_.substr(at + 1, 2) == "\xC5\xBF") return at + 3;
    return at;
  }

  // Up to `most` numbers.
  uint32_t numbers(uint32_t at, int most) const {
    uint32_t length = 0;
    for (; most > 0 && (peek(at, &length) & kNumber) != 0; --most) at += length;
    return at;
  }

  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
  const ClassTable& table_ = ClassTable::get();
  const uint16_t* ascii_ = table_.ascii();
};

uint32_t next_gpt2(const Scanner& scan, uint32_t at) {
  const char c = scan.text()[at];
  if (c == '\'') {
    if (const uint32_t end = scan.contraction(at, false); end != at) return end;
  }
  uint32_t length = 0;
  const uint32_t body = c == ' ' ? at + 1 : at;
  const uint16_t bits = scan.peek(body, &length);
  if (body < scan.text().size()) {
    if ((bits & kLetter) != 0) return scan.skip(body + length, kLetter);
    if ((bits & kNumber) != 0) return scan.skip(body + length, kNumber);
    if ((bits & kWordish) == 0) return scan.skip_others(body + length);
  }
  return scan.spaces(at);
}

uint32_t next_llama3(const Scanner& scan, uint32_t at, int max_digits) {
  const char c = scan.text()[at];
  if (c == '\'') {
    if (const uint32_t end = scan.contraction(at, true); end != at) return end;
  }
  uint32_t length = 0;
  const uint16_t bits = scan.peek(at, &length);
  if ((bits & kLetter) != 0) return scan.skip(at + length, kLetter);
  if ((bits & kNumber) != 0) return scan.numbers(at, max_digits);
  uint32_t next_length = 0;
  const uint16_t next = scan.peek(at + length, &next_length);
  if ((bits & kLineBreak) == 0 && (next & kLetter) != 0) return scan.skip(at + length, kLetter);
  const bool space_then_other = c == ' ' && next_length != 0 && (next & kWordish) == 0;
  if (space_then_other || (bits & kWordish) == 0) {
    return scan.skip(scan.skip_others(at + (space_then_other ? 1 : 0)), kLineBreak);
  }
  return scan.spaces_or_newlines(at);
}

// How the patterns of GPT-4o and those made after it differ.
struct CasedWords {
  int max_digits;
  bool contractions;   // a word takes the 's or 'll behind it
  bool slashes;        // a run of signs takes slashes behind it
  uint16_t not_words;  // characters with these bits are no part of a word
};

// [upper] and [lower] of those patterns.
struct CaseClasses {
  uint16_t not_words;
  bool upper(uint16_t bits) const {
    return (bits & kMarked) != 0 && (bits & (kLower | not_words)) == 0;
  }
  bool lower(uint16_t bits) const {
    return (bits & kMarked) != 0 && (bits & (kUpper | not_words)) == 0;
  }
};

// [upper]*[lower]+ from `at`; its end, or `at` when it does not match. Where no plain lower-case
// letter follows, the first part gives back what is behind the last letter that has no case.
uint32_t capped_word(const Scanner& scan, uint32_t at, CaseClasses classes) {
  uint32_t length = 0;
  uint32_t end = at;
  uint32_t caseless_end = at;
  while (true) {
    const uint16_t bits = scan.peek(end, &length);
    if (!classes.upper(bits)) break;
    end += length;
    if (classes.lower(bits)) caseless_end = end;
  }
  const uint32_t lower_end = scan.run(end, [&](uint16_t bits) { return classes.lower(bits); });
  return lower_end != end ? lower_end : caseless_end;
}

uint32_t next_cased(const Scanner& scan, uint32_t at, const CasedWords& kind) {
  const CaseClasses classes{kind.not_words};
  uint32_t length = 0;
  const uint16_t bits = scan.peek(at, &length);
  const bool may_prefix = (bits & (kLetter | kNumber | kLineBreak)) == 0;
  const uint32_t body = at + length;
  const auto with_contraction = [&](uint32_t end) {
    const bool apostrophe =
        kind.contractions && end < scan.text().size() && scan.text()[end] == '\'';
    return apostrophe ? scan.contraction(end, true) : end;
  };
  if (may_prefix) {
    if (const uint32_t end = capped_word(scan, body, classes); end != body) {
      return with_contraction(end);
    }
  }
  if ((bits & kMarked) != 0) {
    if (const uint32_t end = capped_word(scan, at, classes); end != at) {
      return with_contraction(end);
    }
  }
  // Capitals alone.
  const uint32_t capitals = may_prefix ? body : at;
  const uint32_t capitals_end =
      scan.run(capitals, [&](uint16_t other) { return classes.upper(other); });
  if (capitals_end != capitals) return with_contraction(capitals_end);
  if ((bits & kNumber) != 0) return scan.numbers(at, kind.max_digits);
  uint32_t next_length = 0;
  const uint16_t next = scan.peek(body, &next_length);
  const bool space_then_other =
      scan.text()[at] == ' ' && next_length != 0 && (next & kWordish) == 0;
  if (space_then_other || (bits & kWordish) == 0) {
    uint32_t end = scan.skip_others(at + (space_then_other ? 1 : 0));
    const std::string_view text = scan.text();
    while (end < text.size() &&
           (text[end] == '\r' || text[end] == '\n' || (kind.slashes && text[end] == '/'))) {
      ++end;
    }
    return end;
  }
  return scan.spaces_or_newlines(at);
}

constexpr CasedWords kO200kWords = {
    .max_digits = 3, .contractions = true, .slashes = true, .not_words = 0};
constexpr CasedWords kTekkenWords = {
    .max_digits = 1, .contractions = false, .slashes = true, .not_words = 0};
constexpr CasedWords kKimiWords = {
    .max_digits = 3, .contractions = true, .slashes = false, .not_words = kHan};

uint32_t next_kimi(const Scanner& scan, uint32_t at) {
  const uint32_t han_end = scan.skip(at, kHan);
  return han_end != at ? han_end : next_cased(scan, at, kKimiWords);
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The end of the match at `at`, or `at` when the pattern does not match here.
uint32_t next_deepseek_words(const Scanner& scan, uint32_t at) {
  const std::string_view text = scan.text();
  uint32_t length = 0;
  const uint16_t bits = scan.peek(at, &length);
  const uint32_t body = at + length;
  // Of ASCII, signs are what is neither letter, digit, blank nor control.
  if (length == 1 && (bits & kSigns) != 0 && body < text.size() && is_ascii_letter(text[body])) {
    uint32_t end = body + 1;
    while (end < text.size() && is_ascii_letter(text[end])) ++end;
    return end;
  }
  uint32_t next_length = 0;
  const uint16_t next = scan.peek(body, &next_length);
  const bool may_prefix = (bits & (kLetter | kSigns | kLineBreak)) == 0;
  if ((bits & kMarked) != 0 || (may_prefix && (next & kMarked) != 0)) {
    return scan.skip(body, kMarked);
  }
  const bool space_then_sign = text[at] == ' ' && (next & kSigns) != 0;
  if (space_then_sign || (bits & kSigns) != 0) {
    return scan.skip(scan.skip(space_then_sign ? body : at, kSigns), kLineBreak);
  }
  return (bits & kSpace) != 0 ? scan.spaces_or_newlines(at) : at;
}

uint32_t next_kana(const Scanner& scan, uint32_t at) {
  const std::string_view text = scan.text();
  while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0xE3) {
    const CodePoint c = decode_at(text, at);
    const bool inside =
        (c.value >= 0x4E00 && c.value <= 0x9FA5) || (c.value >= 0x3040 && c.value <= 0x30FF);
    if (!inside) break;
    at += c.length;
  }
  return at;
}

// Splits with `next(scanner, at)`, which returns the end of the match at `at`, or `at` for none.
template <typename Next>
void split_with(std::string_view text, ByteSpan range, std::vector<ByteSpan>* out, Next next) {
  const Scanner scan(text, range.end);
  uint32_t gap = range.begin;  // what is behind it has not matched
  for (uint32_t at = range.begin; at < range.end;) {
    const uint32_t end = next(scan, at);
    if (end == at) {
      at += decode_at(text, at).length;
      continue;
    }
    if (gap < at) out->push_back({gap, at});
    out->push_back({at, end});
    at = gap = end;
  }
  if (gap < range.end) out->push_back({gap, range.end});
}

}  // namespace

std::optional<FastSplitter> fast_splitter_for(std::string_view pattern) {
  for (const Known& known : kKnown) {
    if (known.pattern == pattern) return known.splitter;
  }
  // The same character escaped or not.
  if (pattern.starts_with(R"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)")) {
    std::string plain(pattern);
    plain.erase(plain.find("\\\""), 1);
    return plain == pattern_of(FastSplitter::kDeepseekWords)
               ? std::optional(FastSplitter::kDeepseekWords)
               : std::nullopt;
  }
  return std::nullopt;
}

std::string_view pattern_of(FastSplitter splitter) {
  for (const Known& known : kKnown) {
    if (known.splitter == splitter) return known.pattern;
  }
  CHECK(false) << "a splitter without a pattern";
  return {};
}

void fast_split(FastSplitter splitter, std::string_view text, ByteSpan range,
                std::vector<ByteSpan>* out) {
  const auto with = [&](auto next) { split_with(text, range, out, next); };
  switch (splitter) {
    case FastSplitter::kGpt2:
      return with(next_gpt2);
    case FastSplitter::kLlama3:
      return with([](const Scanner& scan, uint32_t at) { return next_llama3(scan, at, 3); });
    case FastSplitter::kQwen2:
      return with([](const Scanner& scan, uint32_t at) { return next_llama3(scan, at, 1); });
    case FastSplitter::kO200k:
      return with(
          [](const Scanner& scan, uint32_t at) { return next_cased(scan, at, kO200kWords); });
    case FastSplitter::kTekken:
      return with(
          [](const Scanner& scan, uint32_t at) { return next_cased(scan, at, kTekkenWords); });
    case FastSplitter::kDeepseekDigits:
      return with([](const Scanner& scan, uint32_t at) { return scan.numbers(at, 3); });
    case FastSplitter::kDeepseekKana:
      return with(next_kana);
    case FastSplitter::kDeepseekWords:
      return with(next_deepseek_words);
    case FastSplitter::kKimi:
      return with(next_kimi);
  }
}

}  // namespace trireme::text
