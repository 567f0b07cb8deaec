// Cuts a Jinja template into tokens, white space control applied.
//
// Environment as the chat templates expect: trim_blocks, lstrip_blocks, one trailing newline
// dropped, the delimiters
// {% %}, {{ }} and {# #}. Throws TemplateFailure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text::jinja {

enum class Tok : uint8_t {
  kData,  // template text
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,   // text holds the value, escapes resolved
  kInteger,  // text holds decimal digits
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  Tok type;
  std::string text;
  int line;
};

std::vector<Token> lex(std::string_view source);

}  // namespace trireme::text::jinja
