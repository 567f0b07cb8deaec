// SentencePiece's compiled character map: strings to what they are normalized to, in a double
// array.
//
// The bytes come from a file (`precompiled_charsmap` of tokenizer.json or of tokenizer.model) and
// are believed only inside their bounds: whatever they say, a look-up ends and reads nothing else.
// Immutable after parse, thread-safe.
//
// Layout: u32 size of the trie in bytes, the trie's u32 units, then texts that end in NUL; all
// little-endian. Source: the Darts-clone library's format (BSD), as SentencePiece writes it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenize/added_tokens.h"
#include "text/tokenize/normalizer.h"

namespace trireme::text {

class Charsmap {
 public:
  static Result<Charsmap> parse(std::string_view bytes);

  struct Match {
    uint32_t length = 0;  // bytes of the key; 0: none
    std::string_view to;  // what they become
  };
  // The shortest and the longest key that `text` begins with.
  Match shortest(std::string_view text) const { return find(text, true); }
  Match longest(std::string_view text) const { return find(text, false); }
  // False when no key begins with the byte.
  bool may_start(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }

 private:
  Match find(std::string_view text, bool stop_at_first) const;

  std::vector<uint32_t> units_;
  std::string texts_;
  std::array<bool, 256> starts_{};
};

// The normalizer Precompiled of the reference library, which looks up grapheme clusters, else
// single characters.
std::unique_ptr<NormalizerStep> make_precompiled(Charsmap map);
// SentencePiece's own use: the longest key from left to right. `kept` strings pass unchanged.
std::unique_ptr<NormalizerStep> make_charsmap(Charsmap map, const std::vector<std::string>& kept);

}  // namespace trireme::text
