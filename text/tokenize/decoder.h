// The decoder of a tokenizer file, compiled to what each id contributes to the text.
//
// A decoder is a list of steps on each token, then perhaps the joining of byte tokens, then perhaps
// a strip of the whole text. What a token contributes may depend on its being the first or the last
// one; everything else is worked out at load. Immutable after build, thread-safe. The two users are
// Tokenizer::decode (whole sequences) and Detokenizer (streams).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/tokenize/decode_steps.h"

namespace trireme::text {

struct DecoderConfig {
  std::vector<DecodeStep> steps;  // on each token, in order
  bool byte_level = false;        // pieces spell bytes in the byte alphabet
  bool byte_fallback = false;     // <0xHH> is a byte
  // A run of byte tokens that is not UTF-8 as a whole becomes one U+FFFD per byte (the reference
  // library); else only its wrong bytes do (SentencePiece).
  bool whole_runs = true;
  bool join_with_spaces = false;  // no decoder at all: pieces with a blank between
  // Removed from the beginning and the end of the whole text, up to so many times.
  char strip_start = ' ';
  uint32_t strip_start_count = 0;
  char strip_stop = ' ';
  uint32_t strip_stop_count = 0;
  // Ids with a text of their own, from which nothing is stripped.
  std::vector<std::pair<int32_t, std::string>> fixed;
  bool clean_up = false;  // Tokenizer::decode tidies the spaces of the whole text, once more
};

class Decoder {
 public:
  // `pieces[id]` is the spelling of an id; ids without one contribute nothing.
  static Decoder build(DecoderConfig config, const std::vector<std::string_view>& pieces,
                       const std::vector<bool>& special);

  const DecoderConfig& config() const { return config_; }
  void set_clean_up(bool on) { config_.clean_up = on; }

  bool known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < entries_.size(); }
  bool special(int32_t id) const { return known(id) && (entry(id).flags & kSpecial) != 0; }
  bool present(int32_t id) const { return known(id) && (entry(id).flags & kPresent) != 0; }
  // The text or, in byte mode, the bytes of a present id that is neither first nor last.
  std::string_view bytes(int32_t id) const {
    return std::string_view(arena_).substr(entry(id).begin, entry(id).size);
  }
  // The same at its place.
  std::string text_at(int32_t id, TokenPlace place) const;
  // True when bytes(id) are whole, valid characters.
  bool whole(int32_t id) const { return (entry(id).flags & kWhole) != 0; }
  // True when nothing may be stripped from the id's text.
  bool fixed(int32_t id) const { return (entry(id).flags & kFixed) != 0; }
  // The byte of a byte-fallback token, or -1.
  int byte_value(int32_t id) const { return entry(id).byte; }
  // A token that follows its equal contributes nothing.
  bool drops_repeats() const { return drops_repeats_; }
  // The last token may look different: a stream has to wait for the next.
  bool last_differs() const { return last_differs_; }

  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const;

 private:
  enum Flag : uint8_t { kSpecial = 1, kPresent = 2, kWhole = 4, kFixed = 8 };
  struct Entry {
    uint32_t begin = 0;
    uint32_t size = 0;
    int16_t byte = -1;
    uint8_t flags = 0;
  };
  const Entry& entry(int32_t id) const { return entries_[static_cast<size_t>(id)]; }

  DecoderConfig config_;
  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<std::string> pieces_;  // spellings, kept where the place of a token matters
  bool drops_repeats_ = false;
  bool first_differs_ = false;
  bool last_differs_ = false;
};

// The state of a text that is being decoded, token by token. One object per text, not thread-safe.
class DecodeRun {
 public:
  // `eager`: show what is certain as soon as it is; else byte runs are judged as a whole.
  DecodeRun(const Decoder& decoder, bool skip_special, bool eager);

  // Appends what the id adds to the text.
  void push(int32_t id, std::string* out);
  // Appends what was held back; the run is then as new.
  void finish(std::string* out);
  // Bytes of an unfinished character that are held back.
  size_t held_bytes() const { return held_.size(); }

 private:
  void push_bytes(std::string_view bytes, bool whole, std::string* out);
  void push_token(int32_t id, bool last, std::string* out);
  void push_run_byte(char byte, std::string* out);
  void end_byte_run(std::string* out);
  void show(std::string_view text, bool may_strip, std::string* out);

  const Decoder* decoder_;
  bool skip_special_;
  bool eager_;
  bool first_ = true;
  bool broken_run_ = false;  // a byte run that is already known not to be UTF-8
  int32_t previous_ = -1;    // for repeats
  int32_t waiting_ = -1;     // a token that may be the last
  std::string held_;         // bytes of an unfinished character or run
  std::string tail_;         // trailing characters that may still be stripped
  uint32_t strip_left_;      // leading characters that may still be stripped
};

// Shows a run of byte-fallback bytes, as the whole_runs flag says.
std::string show_byte_run(std::string_view run, bool whole_runs);

}  // namespace trireme::text
