// Added tokens: strings that are found in the text before the model sees it, such as <|im_start|>.
//
// The longest token that starts leftmost wins. Matching is one pass with a trie. Immutable after
// `build`, thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenize/aligned_text.h"

namespace trireme::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;       // as in the file
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for in normalized text, in normalized form
  bool special = false;      // hidden by skip_special_tokens
};

// True for a token that text from outside must not produce: special, or named like one (<|...|>,
// <｜...｜>).
bool is_control(const AddedToken& token);

// Finds strings of a fixed set. Keys are added in any order; an empty key is ignored.
class PrefixTrie {
 public:
  void add(std::string_view key, int32_t value);
  bool empty() const { return nodes_.size() == 1; }

  // The longest key at `at` for which `allowed(value, end)` is true; -1 when there is none.
  template <typename Allowed>
  int32_t longest(std::string_view text, uint32_t at, uint32_t* end, Allowed allowed) const {
    int32_t best = -1;
    uint32_t node = 0;
    for (uint32_t i = at; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      node = node == 0 ? roots_[byte] : child(node, byte);
      if (node == 0) break;
      const int32_t value = nodes_[node];
      if (value >= 0 && allowed(value, i + 1)) {
        best = value;
        *end = i + 1;
      }
    }
    return best;
  }
  bool may_start(char c) const { return roots_[static_cast<unsigned char>(c)] != 0; }

 private:
  uint32_t child(uint32_t node, unsigned char byte) const {
    const auto found = edges_.find((uint64_t{node} << 8) | byte);
    return found == edges_.end() ? 0 : found->second;
  }
  std::vector<int32_t> nodes_ = {-1};  // value that ends in the node, or -1
  std::vector<uint32_t> roots_ = std::vector<uint32_t>(256, 0);
  std::unordered_map<uint64_t, uint32_t> edges_;
};

// One stretch of text: an added token when `token` >= 0 (an index into the list given to build),
// else plain text.
struct AddedSplit {
  ByteSpan span;
  int32_t token = -1;
};

class AddedTokenMatcher {
 public:
  // `patterns[i]` is what token i looks like in the text; empty ones are never found.
  void build(const std::vector<AddedToken>* tokens, const std::vector<std::string>& patterns);
  bool empty() const { return trie_.empty(); }

  // Splits `text`. `allowed(token index, begin, end)` may forbid a match at a place.
  using Allowed = std::function<bool(int32_t token, uint32_t begin, uint32_t end)>;
  std::vector<AddedSplit> split(std::string_view text, const Allowed& allowed) const;

 private:
  const std::vector<AddedToken>* tokens_ = nullptr;
  PrefixTrie trie_;
};

}  // namespace trireme::text
