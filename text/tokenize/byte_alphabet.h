// GPT-2's byte alphabet: a printable character for each of the 256 bytes, in which byte-level
// vocabularies are spelled.
//
// Pure and thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trireme::text {

// The character of a byte.
char32_t byte_to_char(unsigned char byte);

// The bytes that `piece` spells; none when a character is outside the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view piece);

}  // namespace trireme::text
