// The decoder of a tokenizer file, compiled to what each id contributes to the text.
//
// Immutable after build, thread-safe. The two users are Tokenizer::decode (whole sequences) and
// Detokenizer (streams).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trireme::text {

struct DecoderConfig {
  bool byte_level = false;     // pieces spell bytes in the byte alphabet
  bool byte_fallback = false;  // <0xHH> is a byte
  // A run of byte tokens that is not UTF-8 as a whole becomes one U+FFFD per byte (the reference
  // library); else only its wrong bytes do (SentencePiece).
  bool whole_runs = true;
  bool join_with_spaces = false;  // no decoder at all: pieces with a blank between
  // Per token, in order: what to replace with what.
  std::vector<std::pair<std::string, std::string>> replacements;
  // Metaspace: this character is a space, and vanishes from the first token when
  // `metaspace_strips_first`.
  std::string metaspace;
  bool metaspace_strips_first = false;
  // Removed from the beginning of the whole text, up to so many times.
  char strip_start = ' ';
  uint32_t strip_start_count = 0;
};

class Decoder {
 public:
  // `pieces[id]` is the spelling of an id; ids without one contribute nothing.
  static Decoder build(DecoderConfig config, const std::vector<std::string_view>& pieces,
                       const std::vector<bool>& special);

  const DecoderConfig& config() const { return config_; }
  bool known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < entries_.size(); }
  bool special(int32_t id) const { return known(id) && (entry(id).flags & kSpecial) != 0; }
  bool present(int32_t id) const { return known(id) && (entry(id).flags & kPresent) != 0; }
  // The text or, in byte mode, the bytes of a present id.
  std::string_view bytes(int32_t id) const {
    return std::string_view(arena_).substr(entry(id).begin, entry(id).size);
  }
  // True when bytes(id) are whole, valid characters.
  bool whole(int32_t id) const { return (entry(id).flags & kWhole) != 0; }
  // The byte of a byte-fallback token, or -1.
  int byte_value(int32_t id) const { return entry(id).byte; }
  // What a Metaspace decoder shows when the id comes first.
  std::string first_text(int32_t id) const;

  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const;

 private:
  enum Flag : uint8_t { kSpecial = 1, kPresent = 2, kWhole = 4 };
  struct Entry {
    uint32_t begin = 0;
    uint32_t size = 0;
    int16_t byte = -1;
    uint8_t flags = 0;
  };
  const Entry& entry(int32_t id) const { return entries_[static_cast<size_t>(id)]; }
  std::string decode_text(const std::vector<int32_t>& ids, bool skip_special) const;

  DecoderConfig config_;
  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<std::string> first_pieces_;  // spellings, kept for Metaspace only
};

// Shows a run of byte-fallback bytes, as the whole_runs flag says.
std::string show_byte_run(std::string_view run, bool whole_runs);

}  // namespace trireme::text
