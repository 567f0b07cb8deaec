// What every kind of vocabulary model can do: turn one word into tokens. BPE, Unigram and
// WordPiece are models.
//
// Immutable after load, thread-safe; scratch memory is the caller's.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trireme::text {

// Largest vocabulary that a file may ask for; published ones have up to 262,144 entries.
inline constexpr int32_t kMaxVocab = 1 << 22;

// A token, and the bytes of the word that it stands for.
struct ModelToken {
  int32_t id;
  uint32_t begin;
  uint32_t end;
};

// Reused from word to word within one encode call.
struct ModelScratch {
  std::vector<int32_t> ids;
  std::vector<uint32_t> begins;
  std::vector<uint32_t> next;
  std::vector<uint32_t> previous;
  std::vector<uint32_t> merges;
  std::vector<uint64_t> heap;
  std::vector<double> scores;
  std::vector<float> float_scores;
};

class Model {
 public:
  virtual ~Model() = default;
  // Appends the tokens of `word`, which is valid UTF-8 and not empty.
  virtual void tokenize(std::string_view word, ModelScratch* scratch,
                        std::vector<ModelToken>* out) const = 0;
  // The end of the part of `word` that begins at `begin` and may be tokenized by itself: the tokens
  // of the parts are those of the word.
  virtual uint32_t part_end(std::string_view word, uint32_t begin) const {
    static_cast<void>(begin);
    return static_cast<uint32_t>(word.size());
  }
  // The id of a vocabulary entry as the file spells it; -1 when there is none.
  virtual int32_t token_to_id(std::string_view piece) const = 0;
  // The spelling in the file; empty for an id that the vocabulary does not have.
  virtual std::string_view id_to_piece(int32_t id) const = 0;
  // Largest id + 1.
  virtual int32_t n_ids() const = 0;
};

}  // namespace trireme::text
