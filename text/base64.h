// Base64, standard alphabet. Pure and thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trireme::text {

// With padding.
std::string encode_base64(std::string_view bytes);

// With or without padding. None when a character is not of the alphabet or the length is
// impossible.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace trireme::text
