#include "text/tokenize/byte_alphabet.h"

#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// Bytes that are their own character; the others are numbered from U+0100 in order.
constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The byte of a character, or -1.
int char_to_byte(char32_t c) {
  if (c < 0x100) return stands_for_itself(c) ? static_cast<int>(c) : -1;
  const unsigned rank = c - 0x100;
  if (rank < 33) return static_cast<int>(rank);              // 0x00..0x20
  if (rank < 67) return static_cast<int>(0x7F + rank - 33);  // 0x7F..0xA0
  return rank == 67 ? 0xAD : -1;
}

}  // namespace

char32_t byte_to_char(unsigned char byte) {
  if (stands_for_itself(byte)) return byte;
  if (byte <= 0x20) return 0x100u + byte;
  if (byte == 0xAD) return 0x100 + 67;
  return 0x100u + 33 + (byte - 0x7Fu);
}

std::optional<std::string> from_byte_alphabet(std::string_view piece) {
  std::string out;
  out.reserve(piece.size());
  for (size_t at = 0; at < piece.size();) {
    const CodePoint c = decode_at(piece, at);
    const int byte = c.valid ? char_to_byte(c.value) : -1;
    if (byte < 0) return std::nullopt;
    out.push_back(static_cast<char>(byte));
    at += c.length;
  }
  return out;
}

}  // namespace trireme::text
