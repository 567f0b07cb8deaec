// Byte-pair encoding, byte-level (GPT-2, Llama 3, Qwen) and SentencePiece style (Llama 2, Mistral,
// Gemma).
//
// The pair of the lowest rank is merged first, the leftmost of equals, until no pair has a rank.
// Short words scan, long ones keep a heap: n log n whatever the text. A word that is a vocabulary
// entry which the merges do reach is looked up whole; which entries those are is worked out at load
// with the same merges, so the result is the same.
//
// Source: Sennrich et al., arXiv:1508.07909.   Immutable after build, thread-safe.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/tokenize/added_tokens.h"
#include "text/tokenize/model.h"
#include "text/tokenize/vocab.h"

namespace trireme::text {

struct BpeMerge {
  std::string left;
  std::string right;
  uint32_t rank;  // lower merges first; equal ranks merge from the left
};

struct BpeConfig {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<BpeMerge> merges;
  bool byte_level = false;        // the vocabulary is spelled in the byte alphabet
  bool byte_fallback = false;     // a character that is not in the vocabulary becomes <0xHH> tokens
  bool ignore_merges = false;     // a word that is in the vocabulary is that token
  bool fuse_unk = false;          // neighbouring unknown characters are one unknown token
  std::string unk_token;          // empty: unknown characters vanish
  std::string continuing_prefix;  // spelled before every character but a word's first
  std::string end_suffix;         // spelled behind a word's last character
  std::vector<std::string> frozen;  // entries matched first, longest wins, and never merged further
};

class Bpe final : public Model {
 public:
  static Result<std::unique_ptr<Bpe>> build(const BpeConfig& config);

  void tokenize(std::string_view word, ModelScratch* scratch,
                std::vector<ModelToken>* out) const override;
  // Where no merge leads across the beginning of a word (a space mark behind something else), long
  // texts without a pre-tokenizer fall into words all the same.
  uint32_t part_end(std::string_view word, uint32_t begin) const override;
  int32_t token_to_id(std::string_view piece) const override { return vocab_.find(piece); }
  std::string_view id_to_piece(int32_t id) const override { return vocab_.piece(id); }
  int32_t n_ids() const override { return vocab_.n_ids(); }

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };

  Status add_vocab(const BpeConfig& config);
  Status add_merges(const BpeConfig& config);
  void find_whole_words();
  bool parts_at_marks(const BpeConfig& config) const;
  void split_symbols(std::string_view word, ModelScratch* scratch) const;
  void split_characters(std::string_view word, ModelScratch* scratch) const;
  void merge_short(ModelScratch* scratch) const;
  void merge_long(ModelScratch* scratch) const;
  void merge_all(ModelScratch* scratch) const;
  int32_t find_character(std::string_view word, uint32_t begin, uint32_t end) const;
  uint32_t pair(int32_t left, int32_t right) const {
    return left < 0 || right < 0 ? PairMap::kNone : pairs_.find(left, right);
  }
  const Vocab& words() const { return byte_level_ ? raw_ : vocab_; }

  Vocab vocab_;  // as the file spells it
  Vocab raw_;    // byte-level only: the bytes that entries stand for
  PairMap pairs_;
  std::vector<Merge> merges_;
  std::vector<bool> whole_;              // per id: its spelling tokenizes to it alone
  std::array<int32_t, 256> byte_ids_{};  // <0xHH> or the byte's own entry; -1: none
  PrefixTrie frozen_;
  std::string continuing_prefix_;
  std::string end_suffix_;
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool fuse_unk_ = false;
  bool parts_at_marks_ = false;
  int32_t unk_id_ = -1;
};

}  // namespace trireme::text
