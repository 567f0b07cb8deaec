// UTF-8: decoding, checking, counting and mending of byte strings.
//
// Every function accepts any bytes and never reads outside them. Pure and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

struct CodePoint {
  char32_t value;   // kReplacementCharacter when `valid` is false
  uint32_t length;  // bytes taken: 1..4; for invalid bytes the maximal invalid part
  bool valid;
};

CodePoint decode_multibyte(std::string_view text, size_t at);

// The code point at byte `at`, which must be inside `text`.
inline CodePoint decode_at(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return {lead, 1, true};
  return decode_multibyte(text, at);
}

inline bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

void append_utf8(char32_t code_point, std::string* out);
bool is_valid_utf8(std::string_view text);
bool is_ascii(std::string_view text);
size_t count_code_points(std::string_view text);
std::vector<char32_t> to_code_points(std::string_view text);

// One U+FFFD for every maximal invalid part, as the Unicode standard advises.
std::string mend_utf8(std::string_view text);

// Bytes at the end of `text` (0..3) that are the beginning of a character whose rest may still
// come.
size_t incomplete_suffix(std::string_view text);

}  // namespace trireme::text
