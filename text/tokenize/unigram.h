// Unigram language model (T5, XLM-R, ALBERT): of all ways to cut a word into pieces, the one whose
// scores have the largest sum.
//
// One Viterbi pass over a trie of the pieces: the work is the length of the word times that of the
// longest piece. A character that no piece covers alone is unknown, at the lowest score minus 10;
// unknown neighbours are one token, or byte tokens where the vocabulary has them.
//
// Source: Kudo, "Subword Regularization", arXiv:1804.10959, sec. 3.2.
// Immutable after build, thread-safe.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenize/byte_trie.h"
#include "text/tokenize/model.h"
#include "text/tokenize/vocab.h"

namespace trireme::text {

struct UnigramPiece {
  std::string text;
  double score = 0;
  bool in_text = true;        // may be found in text
  bool user_defined = false;  // is preferred over any other cut
  bool rates_unknown = true;  // counts for the lowest score
};

struct UnigramConfig {
  std::vector<UnigramPiece> pieces;  // by id
  int32_t unk_id = 0;
  bool byte_fallback = false;
  // Sums are kept in float, as the SentencePiece library does, or in double.
  bool float_scores = false;
};

class Unigram final : public Model {
 public:
  static Result<std::unique_ptr<Unigram>> build(const UnigramConfig& config);

  void tokenize(std::string_view word, ModelScratch* scratch,
                std::vector<ModelToken>* out) const override;
  int32_t token_to_id(std::string_view piece) const override { return vocab_.find(piece); }
  std::string_view id_to_piece(int32_t id) const override { return vocab_.piece(id); }
  int32_t n_ids() const override { return vocab_.n_ids(); }

 private:
  template <typename Score>
  void search(std::string_view word, std::vector<Score>* best, ModelScratch* scratch) const;
  void emit(std::string_view word, uint32_t begin, uint32_t end, int32_t id,
            std::vector<ModelToken>* out) const;

  Vocab vocab_;
  ByteTrie trie_;
  std::vector<double> scores_;           // per id
  std::vector<bool> user_defined_;       // per id
  std::array<int32_t, 256> byte_ids_{};  // all there, or byte_fallback_ is off
  bool byte_fallback_ = false;
  bool float_scores_ = false;
  int32_t unk_id_ = 0;
  double unk_score_ = 0;
};

}  // namespace trireme::text
