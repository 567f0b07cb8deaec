#include "text/tokenize/added_tokens.h"

#include <algorithm>

#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

uint32_t char_before(std::string_view text, uint32_t at) {
  do {
    --at;
  } while (at > 0 && is_continuation(text[at]));
  return at;
}

bool is_word_char(std::string_view text, uint32_t at) {
  const char32_t c = decode_at(text, at).value;
  // Zero-width joiners count as word characters in the reference library's test.
  return (ClassTable::get().bits(c) & kWord) != 0 || c == 0x200C || c == 0x200D;
}

bool touches_word(std::string_view text, uint32_t begin, uint32_t end) {
  return (begin > 0 && is_word_char(text, char_before(text, begin))) ||
         (end < text.size() && is_word_char(text, end));
}

}  // namespace

bool is_control(const AddedToken& token) {
  return token.special || token.content.starts_with("<|") ||
         token.content.starts_with("<\xEF\xBD\x9C");
}

void PrefixTrie::add(std::string_view key, int32_t value) {
  if (key.empty()) return;
  uint32_t node = 0;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t& next = node == 0 ? roots_[byte] : edges_[(uint64_t{node} << 8) | byte];
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back(-1);
    }
    node = next;
  }
  nodes_[node] = value;
}

void AddedTokenMatcher::build(const std::vector<AddedToken>* tokens,
                              const std::vector<std::string>& patterns) {
  tokens_ = tokens;
  for (size_t i = 0; i < patterns.size(); ++i) trie_.add(patterns[i], static_cast<int32_t>(i));
}

std::vector<AddedSplit> AddedTokenMatcher::split(std::string_view text,
                                                 const Allowed& allowed) const {
  std::vector<AddedSplit> out;
  const auto size = static_cast<uint32_t>(text.size());
  uint32_t done = 0;
  for (uint32_t at = 0; at < size;) {
    if (!trie_.may_start(text[at])) {
      ++at;
      continue;
    }
    uint32_t end = at;
    const int32_t token = trie_.longest(text, at, &end, [&](int32_t candidate, uint32_t stop) {
      return allowed == nullptr || allowed(candidate, at, stop);
    });
    if (token < 0) {
      ++at;
      continue;
    }
    const AddedToken& added = (*tokens_)[static_cast<size_t>(token)];
    if (added.single_word && touches_word(text, at, end)) {
      at = end;
      continue;
    }
    uint32_t begin = at;
    while (added.lstrip && begin > done) {
      const uint32_t before = char_before(text, begin);
      if (before < done || !is_white_space(decode_at(text, before).value)) break;
      begin = before;
    }
    while (added.rstrip && end < size && is_white_space(decode_at(text, end).value)) {
      end += decode_at(text, end).length;
    }
    if (begin > done) out.push_back({{done, begin}, -1});
    out.push_back({{begin, end}, token});
    done = end;
    at = end;
  }
  if (done < size) out.push_back({{done, size}, -1});
  return out;
}

}  // namespace trireme::text
