#include "text/tokenize/splitter.h"

#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr uint8_t kWordish = kLetter | kNumber | kSpace;  // what [^\s\p{L}\p{N}] leaves out

class Scanner {
 public:
  Scanner(std::string_view text, uint32_t end) : text_(text.substr(0, end)) {}

  // Class bits of the character at `at`, and its length; no bits at the end of the text.
  uint8_t peek(uint32_t at, uint32_t* length) const {
    if (at >= text_.size()) {
      *length = 0;
      return 0;
    }
    const CodePoint c = decode_at(text_, at);
    *length = c.length;
    return table_.bits(c.value);
  }

  uint32_t skip(uint32_t at, uint8_t mask) const {
    uint32_t length = 0;
    while (at < text_.size() && (peek(at, &length) & mask) != 0) at += length;
    return at;
  }

  uint32_t skip_others(uint32_t at) const {
    uint32_t length = 0;
    while (at < text_.size() && (peek(at, &length) & kWordish) == 0) at += length;
    return at;
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

  // 's 't 're 've 'm 'll 'd behind an apostrophe at `at`; its end, or `at` when there is none.
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

  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
  const ClassTable& table_ = ClassTable::get();
};

uint32_t next_gpt2(const Scanner& scan, uint32_t at) {
  const char c = scan.text()[at];
  if (c == '\'') {
    if (const uint32_t end = scan.contraction(at, false); end != at) return end;
  }
  uint32_t length = 0;
  uint32_t body = c == ' ' ? at + 1 : at;
  const uint8_t bits = scan.peek(body, &length);
  if (body < scan.text().size()) {
    if ((bits & kLetter) != 0) return scan.skip(body, kLetter);
    if ((bits & kNumber) != 0) return scan.skip(body, kNumber);
    if ((bits & kWordish) == 0) return scan.skip_others(body);
  }
  return scan.spaces(at);
}

// Everything from `at` when a white space character stands there: newlines first, then plain space.
uint32_t spaces_or_newlines(const Scanner& scan, uint32_t at) {
  uint32_t length = 0;
  uint32_t newline_end = at;
  for (uint32_t end = at; end < scan.text().size(); end += length) {
    const uint8_t bits = scan.peek(end, &length);
    if ((bits & kSpace) == 0) break;
    if ((bits & kLineBreak) != 0) newline_end = end + length;
  }
  return newline_end != at ? newline_end : scan.spaces(at);
}

uint32_t next_llama3(const Scanner& scan, uint32_t at, int max_digits) {
  const char c = scan.text()[at];
  if (c == '\'') {
    if (const uint32_t end = scan.contraction(at, true); end != at) return end;
  }
  uint32_t length = 0;
  const uint8_t bits = scan.peek(at, &length);
  if ((bits & kLetter) != 0) return scan.skip(at, kLetter);
  if ((bits & kNumber) != 0) {
    uint32_t end = at + length;
    for (int digits = 1; digits < max_digits; ++digits) {
      if ((scan.peek(end, &length) & kNumber) == 0) break;
      end += length;
    }
    return end;
  }
  uint32_t next_length = 0;
  const uint8_t next = scan.peek(at + length, &next_length);
  if ((bits & kLineBreak) == 0 && (next & kLetter) != 0) return scan.skip(at + length, kLetter);
  const bool space_then_other = c == ' ' && next_length != 0 && (next & kWordish) == 0;
  if (space_then_other || (bits & kWordish) == 0) {
    return scan.skip(scan.skip_others(at + (space_then_other ? 1 : 0)), kLineBreak);
  }
  return spaces_or_newlines(scan, at);
}

}  // namespace

std::optional<FastSplitter> fast_splitter_for(std::string_view pattern) {
  if (pattern == kGpt2Pattern) return FastSplitter::kGpt2;
  if (pattern == kLlama3Pattern) return FastSplitter::kLlama3;
  if (pattern == kQwen2Pattern) return FastSplitter::kQwen2;
  return std::nullopt;
}

void fast_split(FastSplitter splitter, std::string_view text, ByteSpan range,
                std::vector<ByteSpan>* out) {
  const Scanner scan(text, range.end);
  for (uint32_t at = range.begin; at < range.end;) {
    uint32_t end = at;
    switch (splitter) {
      case FastSplitter::kGpt2:
        end = next_gpt2(scan, at);
        break;
      case FastSplitter::kLlama3:
        end = next_llama3(scan, at, 3);
        break;
      case FastSplitter::kQwen2:
        end = next_llama3(scan, at, 1);
        break;
    }
    out->push_back({at, end});
    at = end;
  }
}

}  // namespace trireme::text
