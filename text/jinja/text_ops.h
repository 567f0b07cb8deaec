// Operations on strings that keep track of which bytes came from the request.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/interpreter.h"

namespace trireme::text::jinja {

// Byte positions of all characters, and the end.
std::vector<size_t> char_starts(std::string_view text);

Text sub_text(const Text& text, size_t begin, size_t end);
// Without the characters of `chars` at its ends; null: white space.
Text strip(const Text& text, const std::string* chars, bool left, bool right);
// Every occurrence, or the first `limit` when it is not negative.
Text replace(Interpreter& in, const Text& text, const std::string& from, const Text& to,
             int64_t limit);
std::vector<Text> split(const Text& text, const std::string* separator, int64_t limit,
                        bool from_right);
std::vector<Text> split_lines(const Text& text, bool keep_ends);
// `fill` on both sides up to `width` characters; `align` is '<', '>' or '^'.
Text pad(const Text& text, int64_t width, std::string_view fill, char align);
Text escape_html(const Text& text);
// A changed text as a whole: it is content if any of the original is.
Text remade(std::string bytes, const Text& original);

// Case, by Unicode's full mappings where one character becomes several.
Text upper(const Text& text);
Text lower(const Text& text);
Text capitalize(const Text& text);
Text title_method(const Text& text);  // str.title(): every run of letters
Text title_filter(
    const Text& text);  // Jinja's: every run between blanks, hyphens and opening brackets
Text swap_case(const Text& text);
bool is_cased_upper(std::string_view text);
bool is_cased_lower(std::string_view text);
bool is_titled(std::string_view text);

// "%s ..." % value, and "{} ..".format(..).
Text format_percent(Interpreter& in, const Text& format, const Value& value);
Text format_braces(Interpreter& in, const Text& format, const Arguments& args);

}  // namespace trireme::text::jinja
