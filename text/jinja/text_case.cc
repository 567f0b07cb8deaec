// Upper, lower and title case.
#include <utf8proc.h>

#include <algorithm>

#include "text/jinja/text_ops.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text::jinja {

namespace {

char32_t simple_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

// Characters whose upper case is several. Source: Unicode SpecialCasing.txt, the unconditional part
// for Latin, Greek and Armenian.
struct Special {
  char32_t from;
  const char* upper;
  const char* title;
};
constexpr Special kSpecials[] = {
    {0xDF, "SS", "Ss"},
    {0x149, "\u02BCN", "\u02BCN"},
    {0x1F0, "J\u030C", "J\u030C"},
    {0x390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    {0x3B0, "\u03A5\u0308\u0301", "\u03A5\u0308\u0301"},
    {0x587, "\u0535\u0552", "\u0535\u0582"},
    {0x1E96, "H\u0331", "H\u0331"},
    {0x1E97, "T\u0308", "T\u0308"},
    {0x1E98, "W\u030A", "W\u030A"},
    {0x1E99, "Y\u030A", "Y\u030A"},
    {0xFB00, "FF", "Ff"},
    {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"},
    {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},
};

const Special* special(char32_t c) {
  if (c < 0xDF) return nullptr;
  const auto* found = std::find_if(std::begin(kSpecials), std::end(kSpecials),
                                   [&](const Special& s) { return s.from == c; });
  return found == std::end(kSpecials) ? nullptr : found;
}

std::string one(char32_t c) {
  std::string out;
  append_utf8(c, &out);
  return out;
}

std::string upper_of(char32_t c) {
  const Special* known = special(c);
  return known != nullptr ? known->upper : one(simple_upper(c));
}

std::string title_of(char32_t c) {
  const Special* known = special(c);
  return known != nullptr ? known->title : one(simple_title(c));
}

bool is_cased(char32_t c) {
  return simple_upper(c) != c || simple_lower(c) != c || special(c) != nullptr;
}
bool is_letter(char32_t c) { return (ClassTable::get().bits(c) & kLetter) != 0; }
bool is_mark(char32_t c) {
  return (ClassTable::get().bits(c) & kMark) != 0 || c == '\'' || c == 0x2019 || c == 0xAD;
}

// Sigma at the end of a word has a form of its own.
bool is_final_sigma(std::string_view text, size_t at) {
  size_t i = at;
  bool cased_before = false;
  while (i > 0) {
    do {
      --i;
    } while (i > 0 && is_continuation(text[i]));
    const char32_t c = decode_at(text, i).value;
    if (is_mark(c)) continue;
    cased_before = is_cased(c);
    break;
  }
  if (!cased_before) return false;
  for (i = at + decode_at(text, at).length; i < text.size(); i += decode_at(text, i).length) {
    const char32_t c = decode_at(text, i).value;
    if (!is_mark(c)) return !is_cased(c);
  }
  return true;
}

std::string lower_of(std::string_view text, size_t at) {
  const char32_t c = decode_at(text, at).value;
  if (c == 0x130) return "i\xCC\x87";
  if (c == 0x3A3) return is_final_sigma(text, at) ? "\xCF\x82" : "\xCF\x83";
  return one(simple_lower(c));
}

// Replaces each character by what `map(text, byte position)` says; a character's origin is its
// replacement's.
template <typename Map>
Text map_chars(const Text& text, Map map) {
  Text out;
  for (size_t at = 0; at < text.bytes.size();) {
    const size_t next = at + decode_at(text.bytes, at).length;
    const Text original = sub_text(text, at, next);
    append_text(remade(map(text.bytes, at), original), &out);
    at = next;
  }
  return out;
}

// ASCII, by far the most common, needs no table and keeps every position.
template <typename Map>
Text map_ascii(const Text& text, Map map) {
  Text out = text;
  out.markup = false;
  for (char& c : out.bytes) c = map(c);
  return out;
}

char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

Text upper(const Text& text) {
  if (is_ascii(text.bytes)) return map_ascii(text, ascii_upper);
  return map_chars(
      text, [](const std::string& s, size_t at) { return upper_of(decode_at(s, at).value); });
}

Text lower(const Text& text) {
  if (is_ascii(text.bytes)) return map_ascii(text, ascii_lower);
  return map_chars(text, [](const std::string& s, size_t at) { return lower_of(s, at); });
}

Text capitalize(const Text& text) {
  return map_chars(text, [](const std::string& s, size_t at) {
    return at == 0 ? title_of(decode_at(s, at).value) : lower_of(s, at);
  });
}

Text title_method(const Text& text) {
  bool inside = false;
  return map_chars(text, [&](const std::string& s, size_t at) {
    const char32_t c = decode_at(s, at).value;
    std::string out = inside ? lower_of(s, at) : title_of(c);
    inside = is_cased(c);
    return out;
  });
}

Text title_filter(const Text& text) {
  bool starts = true;
  return map_chars(text, [&](const std::string& s, size_t at) {
    const char32_t c = decode_at(s, at).value;
    std::string out = starts ? upper_of(c) : lower_of(s, at);
    starts = is_white_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    return out;
  });
}

Text swap_case(const Text& text) {
  return map_chars(text, [](const std::string& s, size_t at) {
    const char32_t c = decode_at(s, at).value;
    return simple_lower(c) != c ? lower_of(s, at) : upper_of(c);
  });
}

bool is_cased_upper(std::string_view text) {
  bool any = false;
  for (const char32_t c : to_code_points(text)) {
    if (is_letter(c) && simple_upper(c) != c) return false;
    any = any || (is_letter(c) && simple_lower(c) != c);
  }
  return any;
}

bool is_cased_lower(std::string_view text) {
  bool any = false;
  for (const char32_t c : to_code_points(text)) {
    if (is_letter(c) && simple_lower(c) != c) return false;
    any = any || (is_letter(c) && (simple_upper(c) != c || special(c) != nullptr));
  }
  return any;
}

bool is_titled(std::string_view text) {
  bool any = false;
  bool inside = false;
  for (const char32_t c : to_code_points(text)) {
    const bool is_upper = simple_lower(c) != c;
    if ((is_upper && inside) || (!is_upper && is_cased(c) && !inside)) return false;
    inside = is_cased(c);
    any = any || inside;
  }
  return any;
}

}  // namespace trireme::text::jinja
