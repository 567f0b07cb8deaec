// Writing JSON by hand where it is written once per token: an escaper and number writers that
// append to a string.
//
// Pure. Text must be UTF-8; what is not (a damaged vocabulary) is replaced by U+FFFD, so that the
// output always parses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::router {

void append_json_string(std::string& out, std::string_view text);   // with its quotes
void append_json_escaped(std::string& out, std::string_view text);  // without
void append_int(std::string& out, int64_t value);
// Shortest text that reads back as the same float; -inf becomes -9999.0, the field's word for
// "impossible".
void append_logprob(std::string& out, float value);
void append_double(std::string& out, double value);

// Length of the UTF-8 sequence at text[i], or 0 where it is not valid.
size_t utf8_sequence(std::string_view text, size_t i);
bool is_valid_utf8(std::string_view text);

}  // namespace trireme::router
