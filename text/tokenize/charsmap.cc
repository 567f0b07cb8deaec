#include "text/tokenize/charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

bool has_leaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t label(uint32_t unit) { return unit & ((1u << 31) | 0xFF); }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t leaf_value(uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof(trie_bytes)) {
    return invalid_argument("the precompiled character map is shorter than its header");
  }
  std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  bytes.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes > bytes.size() || trie_bytes % 4 != 0 || trie_bytes == 0) {
    return invalid_argument("the precompiled character map's trie does not fit into its bytes");
  }
  Charsmap map;
  map.units_.resize(trie_bytes / 4);
  std::memcpy(map.units_.data(), bytes.data(), trie_bytes);
  map.texts_ = bytes.substr(trie_bytes);
  if (!is_valid_utf8(map.texts_)) {
    return invalid_argument("the precompiled character map holds text that is not UTF-8");
  }
  const uint32_t root = offset(map.units_[0]);
  for (uint32_t byte = 1; byte < 256; ++byte) {
    const uint32_t at = root ^ byte;
    map.starts_[byte] = at < map.units_.size() && label(map.units_[at]) == byte;
  }
  return map;
}

Charsmap::Match Charsmap::find(std::string_view text, bool stop_at_first) const {
  Match match;
  uint32_t at = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label(units_[at]) != byte) break;
    const uint32_t unit = units_[at];
    at ^= offset(unit);
    if (at >= units_.size()) break;
    if (!has_leaf(unit)) continue;
    const uint32_t begin = leaf_value(units_[at]);
    // A text that begins inside a character of another one is not believed.
    if (begin >= texts_.size() || is_continuation(texts_[begin])) continue;
    const size_t end = std::min(texts_.find('\0', begin), texts_.size());
    match = {static_cast<uint32_t>(i + 1), std::string_view(texts_).substr(begin, end - begin)};
    if (stop_at_first) break;
  }
  return match;
}

namespace {

// End of the grapheme cluster that begins at `at`.
uint32_t cluster_end(std::string_view text, uint32_t at) {
  CodePoint c = decode_at(text, at);
  uint32_t end = at + c.length;
  int state = 0;
  while (end < text.size()) {
    const CodePoint next = decode_at(text, end);
    if (c.value < 0x80 && next.value < 0x80 && c.value != '\r') break;
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.value),
                                         static_cast<utf8proc_int32_t>(next.value), &state)) {
      break;
    }
    c = next;
    end += c.length;
  }
  return end;
}

// The reference's bookkeeping of a change: what the new text has more is inserted, what it has less
// is taken back from the last character.
void replace_chars(std::string_view from, std::string_view to, std::vector<NormalChar>* out) {
  const auto n_from = static_cast<int>(count_code_points(from));
  const auto n_to = static_cast<int>(count_code_points(to));
  for (const char32_t c : to_code_points(to)) out->push_back({c, 0});
  for (int i = 0; i < n_to - n_from; ++i)
    (*out)[out->size() - 1 - static_cast<size_t>(i)].change = 1;
  if (n_to < n_from && !out->empty()) out->back().change += n_to - n_from;
}

class Precompiled final : public NormalizerStep {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}

  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    const auto size = static_cast<uint32_t>(old.size());
    if (!may_change(old)) return {};
    std::vector<NormalChar> chars;
    chars.reserve(size);
    bool changed = false;
    // True when `part` has an entry, which is then written out.
    const auto replaced = [&](std::string_view part) {
      const Charsmap::Match match = map_.shortest(part);
      if (match.length == 0) return false;
      replace_chars(part, match.to, &chars);
      changed = true;
      return true;
    };
    for (uint32_t at = 0; at < size;) {
      const uint32_t end = cluster_end(old, at);
      if (end - at < kMaxClusterBytes && replaced(old.substr(at, end - at))) {
        at = end;
        continue;
      }
      while (at < end) {
        const CodePoint c = decode_at(old, at);
        if (!replaced(old.substr(at, c.length))) chars.push_back({c.value, 0});
        at += c.length;
      }
    }
    if (changed) text->transform(chars);
    return {};
  }

 private:
  // Longer clusters are looked up by character.
  static constexpr uint32_t kMaxClusterBytes = 6;

  bool may_change(std::string_view text) const {
    for (const char c : text) {
      if (map_.may_start(c)) return true;
    }
    return false;
  }
  Charsmap map_;
};

class LongestMatch final : public NormalizerStep {
 public:
  LongestMatch(Charsmap map, const std::vector<std::string>& kept) : map_(std::move(map)) {
    for (const std::string& text : kept) kept_.add(text, 0);
  }

  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    const auto size = static_cast<uint32_t>(old.size());
    AlignedText::Builder builder(*text);
    uint32_t done = 0;
    for (uint32_t at = 0; at < size;) {
      uint32_t end = at;
      if (kept_.may_start(old[at])) {
        const auto any = [](int32_t, uint32_t) { return true; };
        if (kept_.longest(old, at, &end, any) >= 0) {
          at = end;
          continue;
        }
      }
      const Charsmap::Match match =
          map_.may_start(old[at]) ? map_.longest(old.substr(at)) : Charsmap::Match{};
      // An entry may end inside a character only in a broken file.
      const bool whole = at + match.length >= size || !is_continuation(old[at + match.length]);
      if (match.length == 0 || !whole) {
        at += decode_at(old, at).length;
        continue;
      }
      keep(old, done, at, &builder);
      builder.put(match.to, builder.size() == 0 ? 0 : at, at + match.length);
      at += match.length;
      done = at;
    }
    if (done == 0) return {};
    keep(old, done, size, &builder);
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  // Where nothing is left of what came before, the first character stands for it too: the text
  // still begins where it did.
  static void keep(std::string_view old, uint32_t begin, uint32_t end,
                   AlignedText::Builder* builder) {
    if (builder->size() == 0 && begin > 0 && begin < end) {
      const uint32_t first_end = begin + decode_at(old, begin).length;
      builder->put(old.substr(begin, first_end - begin), 0, first_end);
      begin = first_end;
    }
    builder->keep(begin, end);
  }

  Charsmap map_;
  PrefixTrie kept_;
};

}  // namespace

std::unique_ptr<NormalizerStep> make_precompiled(Charsmap map) {
  return std::make_unique<Precompiled>(std::move(map));
}
std::unique_ptr<NormalizerStep> make_charsmap(Charsmap map, const std::vector<std::string>& kept) {
  return std::make_unique<LongestMatch>(std::move(map), kept);
}

}  // namespace trireme::text
