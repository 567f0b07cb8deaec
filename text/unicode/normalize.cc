#include "text/unicode/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// Characters whose decomposition is younger than the tables that the reference library carries.
bool is_unknown_to_reference(char32_t c, bool compatibility) {
  if (c == 0x11938) return true;
  if (!compatibility) return false;
  return c == 0x32FF || (c >= 0xA7F2 && c <= 0xA7F4) || c == 0xAB69 ||
         (c >= 0x10781 && c <= 0x107BA) || c == 0x1F16C || (c >= 0x1FBF0 && c <= 0x1FBF9) ||
         (c >= 0x1E030 && c <= 0x1E06D);
}

int combining_class(char32_t c) {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

// Appends the full decomposition of `c`.
void decompose(char32_t c, bool compatibility, std::vector<NormalChar>* out) {
  if (c < 0x80 || is_unknown_to_reference(c, compatibility)) {
    out->push_back({c, 0});
    return;
  }
  std::array<utf8proc_int32_t, 32> buffer;
  int boundary = 0;
  const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatibility ? UTF8PROC_COMPAT : 0);
  const auto n =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer.data(), buffer.size(),
                              static_cast<utf8proc_option_t>(options), &boundary);
  if (n <= 0 || n > static_cast<utf8proc_ssize_t>(buffer.size())) {
    out->push_back({c, 0});
    return;
  }
  for (utf8proc_ssize_t i = 0; i < n; ++i) {
    out->push_back({static_cast<char32_t>(buffer[i]), i == 0 ? 0 : 1});
  }
}

// Canonical ordering: runs of combining marks are sorted by class, stably.
void reorder(std::vector<NormalChar>* chars) {
  for (size_t begin = 0; begin < chars->size();) {
    if ((*chars)[begin].value < 0x300 || combining_class((*chars)[begin].value) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < chars->size() && combining_class((*chars)[end].value) != 0) ++end;
    std::stable_sort(chars->begin() + begin, chars->begin() + end,
                     [](const NormalChar& a, const NormalChar& b) {
                       return combining_class(a.value) < combining_class(b.value);
                     });
    begin = end;
  }
}

// The primary composite of two characters, or 0.
char32_t compose_pair(char32_t a, char32_t b) {
  if (b < 0x300 || a > 0x10FFFF) return 0;
  std::array<utf8proc_int32_t, 4> pair = {static_cast<utf8proc_int32_t>(a),
                                          static_cast<utf8proc_int32_t>(b), 0, 0};
  const auto n = utf8proc_normalize_utf32(
      pair.data(), 2, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  const auto composite = static_cast<char32_t>(pair[0]);
  return n == 1 && !is_unknown_to_reference(composite, false) ? composite : 0;
}

std::vector<NormalChar> compose(const std::vector<NormalChar>& chars) {
  std::vector<NormalChar> out;
  out.reserve(chars.size());
  size_t starter = SIZE_MAX;  // index in `out` of the last character of class 0
  int last_class = -1;        // class of the last character kept behind the starter; -1: none
  for (const NormalChar& next : chars) {
    const int next_class = combining_class(next.value);
    // A mark composes with the starter unless something of the same or a higher class stands
    // between them.
    if (starter != SIZE_MAX && (last_class == -1 || last_class < next_class)) {
      if (const char32_t composite = compose_pair(out[starter].value, next.value)) {
        out[starter] = {composite, out[starter].change + next.change - 1};
        continue;
      }
    }
    if (next_class == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = next_class;
    }
    out.push_back(next);
  }
  return out;
}

// Characters that no form changes and that never compose with a neighbour.
bool is_inert(char32_t c) {
  return c < 0xA0 || (c >= 0x3042 && c <= 0x304A) || (c >= 0x4E00 && c <= 0x9FFF) ||
         (c >= 0x410 && c <= 0x418) || (c >= 0x41A && c <= 0x438) || (c >= 0x43A && c <= 0x44F) ||
         (c >= 0x2010 && c <= 0x2016 && c != 0x2011) || (c >= 0x2018 && c <= 0x2023) ||
         (c >= 0x3001 && c <= 0x301F) || (c >= 0x1F300 && c <= 0x1F64F);
}

// Composed forms besides keep these, which are whole already.
bool is_inert_composed(char32_t c) {
  return c < 0x300 || (c >= 0x370 && c <= 0x373) || (c >= 0x400 && c <= 0x482) ||
         (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) ||
         (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xFF00 && c <= 0xFFEF);
}

}  // namespace

bool surely_normal(std::string_view text, NormalForm form) {
  const bool canonical_composed = form == NormalForm::kNfc;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    if (!is_inert(c.value) && !(canonical_composed && is_inert_composed(c.value))) return false;
    at += c.length;
  }
  return true;
}

std::vector<NormalChar> normalize(std::string_view text, NormalForm form) {
  const bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::vector<NormalChar> chars;
  chars.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    decompose(c.value, compatibility, &chars);
    at += c.length;
  }
  reorder(&chars);
  if (form == NormalForm::kNfd || form == NormalForm::kNfkd) return chars;
  return compose(chars);
}

}  // namespace trireme::text
