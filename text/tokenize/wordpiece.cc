#include "text/tokenize/wordpiece.h"

#include <fmt/format.h>

#include "text/unicode/utf8.h"

namespace trireme::text {

Result<std::unique_ptr<WordPiece>> WordPiece::build(const WordPieceConfig& config) {
  auto model = std::make_unique<WordPiece>();
  model->vocab_ = Vocab(config.vocab.size());
  for (const auto& [piece, id] : config.vocab) {
    if (id < 0 || id >= kMaxVocab) {
      return invalid_argument(fmt::format("vocabulary id {} is not in 0..{}", id, kMaxVocab - 1));
    }
    model->vocab_.add(piece, id);
  }
  std::vector<std::pair<std::string_view, int32_t>> entries;
  for (const auto& [piece, id] : config.vocab) {
    entries.emplace_back(piece, model->vocab_.find(piece));
  }
  model->trie_ = ByteTrie(std::move(entries));
  if (!model->trie_.empty()) {
    model->continuing_node_ = model->trie_.walk(ByteTrie::kRoot, config.continuing_prefix);
  }
  model->unk_id_ = model->vocab_.find(config.unk_token);
  if (model->unk_id_ < 0) {
    return invalid_argument(
        fmt::format("the unknown token \"{}\" is not in the vocabulary", config.unk_token));
  }
  model->max_chars_ = config.max_chars_per_word;
  model->whole_words_ = config.whole_words;
  return model;
}

bool WordPiece::too_long(std::string_view word) const {
  return word.size() > max_chars_ && count_code_points(word) > max_chars_;
}

void WordPiece::tokenize(std::string_view word, ModelScratch* /*scratch*/,
                         std::vector<ModelToken>* out) const {
  const auto size = static_cast<uint32_t>(word.size());
  if (whole_words_) {
    const int32_t id = vocab_.find(word);
    out->push_back({id < 0 ? unk_id_ : id, 0, size});
    return;
  }
  const size_t first = out->size();
  bool known = !too_long(word) && !trie_.empty();
  for (uint32_t begin = 0; known && begin < size;) {
    uint32_t node = begin == 0 ? ByteTrie::kRoot : continuing_node_;
    int32_t id = -1;
    uint32_t end = begin;
    for (uint32_t at = begin; node != ByteTrie::kNone && at < size;) {
      node = trie_.child(node, static_cast<unsigned char>(word[at++]));
      if (node == ByteTrie::kNone || trie_.value(node) < 0) continue;
      if (at < size && is_continuation(word[at])) continue;  // inside a character
      id = trie_.value(node);
      end = at;
    }
    known = id >= 0;
    if (known) out->push_back({id, begin, end});
    begin = end;
  }
  if (known) return;
  out->resize(first);
  out->push_back({unk_id_, 0, size});
}

}  // namespace trireme::text
