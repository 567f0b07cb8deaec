// What a text may hold on the wire: printable UTF-8. Internal to this folder.
#pragma once

#include <string_view>

#include "base/utf8.h"

namespace trireme::wire {

inline bool is_printable_ascii(char c) { return c >= 0x20 && c < 0x7f; }

// Valid UTF-8 without ASCII control characters.
bool is_printable(std::string_view text);

}  // namespace trireme::wire
