// WordPiece (BERT): the longest entry that begins a word, then the longest that continues it, until
// the word is used up or the whole of it is unknown. And its trivial sibling WordLevel: a word is
// an entry or unknown.
//
// A trie finds each entry in one walk. Words over the limit of characters are unknown at once.
//
// Source: Schuster and Nakajima, "Japanese and Korean Voice Search", 2012; Devlin et al.,
// arXiv:1810.04805.   Immutable after build, thread-safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/tokenize/byte_trie.h"
#include "text/tokenize/model.h"
#include "text/tokenize/vocab.h"

namespace trireme::text {

struct WordPieceConfig {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::string unk_token = "[UNK]";
  std::string continuing_prefix = "##";
  size_t max_chars_per_word = 100;
  bool whole_words = false;  // WordLevel
};

class WordPiece final : public Model {
 public:
  static Result<std::unique_ptr<WordPiece>> build(const WordPieceConfig& config);

  void tokenize(std::string_view word, ModelScratch* scratch,
                std::vector<ModelToken>* out) const override;
  int32_t token_to_id(std::string_view piece) const override { return vocab_.find(piece); }
  std::string_view id_to_piece(int32_t id) const override { return vocab_.piece(id); }
  int32_t n_ids() const override { return vocab_.n_ids(); }

 private:
  bool too_long(std::string_view word) const;

  Vocab vocab_;
  ByteTrie trie_;
  uint32_t continuing_node_ = ByteTrie::kNone;  // behind the prefix
  size_t max_chars_ = 0;
  bool whole_words_ = false;
  int32_t unk_id_ = -1;
};

}  // namespace trireme::text
