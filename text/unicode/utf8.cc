#include "text/unicode/utf8.h"

#include <cstring>

namespace trireme::text {

namespace {

// The legal second byte depends on the lead byte: overlong forms and surrogates are excluded there.
struct LeadRule {
  uint32_t length;  // 0: cannot lead
  unsigned char second_min;
  unsigned char second_max;
};

LeadRule rule_for(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

CodePoint decode_multibyte(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const LeadRule rule = rule_for(lead);
  if (rule.length == 0) return {kReplacementCharacter, 1, false};
  char32_t value = lead & (0x7Fu >> rule.length);
  for (uint32_t i = 1; i < rule.length; ++i) {
    if (at + i >= text.size()) return {kReplacementCharacter, i, false};
    const auto byte = static_cast<unsigned char>(text[at + i]);
    const unsigned char low = i == 1 ? rule.second_min : 0x80;
    const unsigned char high = i == 1 ? rule.second_max : 0xBF;
    if (byte < low || byte > high) return {kReplacementCharacter, i, false};
    value = (value << 6) | (byte & 0x3Fu);
  }
  return {value, rule.length, true};
}

void append_utf8(char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
    return;
  }
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = kReplacementCharacter;
  if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | (c >> 18)));
    out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
  }
  out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
}

namespace {

// The first byte at or after `at` that is not ASCII, eight at a time.
size_t skip_ascii(std::string_view text, size_t at) {
  while (at + 8 <= text.size()) {
    uint64_t chunk;
    std::memcpy(&chunk, text.data() + at, 8);
    if ((chunk & 0x8080808080808080ull) != 0) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  size_t at = 0;
  while ((at = skip_ascii(text, at)) < text.size()) {
    const CodePoint c = decode_multibyte(text, at);
    if (!c.valid) return false;
    at += c.length;
  }
  return true;
}

bool is_ascii(std::string_view text) { return skip_ascii(text, 0) == text.size(); }

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += is_continuation(c) ? 0 : 1;
  return count;
}

std::vector<char32_t> to_code_points(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    out.push_back(c.value);
    at += c.length;
  }
  return out;
}

std::string mend_utf8(std::string_view text) {
  if (is_valid_utf8(text)) return std::string(text);
  std::string out;
  out.reserve(text.size() + 8);
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    if (c.valid) {
      out.append(text, at, c.length);
    } else {
      append_utf8(kReplacementCharacter, &out);
    }
    at += c.length;
  }
  return out;
}

size_t incomplete_suffix(std::string_view text) {
  const size_t longest = text.size() < 3 ? text.size() : 3;
  for (size_t back = 1; back <= longest; ++back) {
    const size_t at = text.size() - back;
    if (is_continuation(text[at])) continue;
    const LeadRule rule = rule_for(static_cast<unsigned char>(text[at]));
    if (rule.length <= back) return 0;
    // Truncated, not wrong: what is there decodes as far as the end of the text.
    const CodePoint c = decode_multibyte(text, at);
    return !c.valid && c.length == back ? back : 0;
  }
  return 0;
}

}  // namespace trireme::text
