#include "text/tokenize/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr double kUnknownPenalty = 10.0;
constexpr uint32_t kUnreached = UINT32_MAX;

}  // namespace

Result<std::unique_ptr<Unigram>> Unigram::build(const UnigramConfig& config) {
  auto model = std::make_unique<Unigram>();
  const size_t n = config.pieces.size();
  if (n == 0 || n > static_cast<size_t>(kMaxVocab)) {
    return invalid_argument("a Unigram vocabulary is empty or too large");
  }
  if (config.unk_id < 0 || static_cast<size_t>(config.unk_id) >= n) {
    return invalid_argument(fmt::format("\"unk_id\" {} is not in the vocabulary", config.unk_id));
  }
  model->vocab_ = Vocab(n);
  model->unk_id_ = config.unk_id;
  model->float_scores_ = config.float_scores;
  double lowest = INFINITY;
  double highest = -INFINITY;
  std::vector<std::pair<std::string_view, int32_t>> found;
  for (size_t i = 0; i < n; ++i) {
    const UnigramPiece& piece = config.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (!std::isfinite(piece.score)) {
      return invalid_argument(fmt::format("the score of piece {} is not a number", i));
    }
    model->vocab_.add(piece.text, id);
    if (piece.in_text) found.emplace_back(piece.text, id);
    if (!piece.rates_unknown) continue;
    lowest = std::min(lowest, piece.score);
    highest = std::max(highest, piece.score);
  }
  if (!std::isfinite(lowest)) lowest = highest = 0;
  for (const UnigramPiece& piece : config.pieces) {
    // A user's piece is worth its length in the best pieces, less a little.
    model->scores_.push_back(
        piece.user_defined ? static_cast<double>(piece.text.size()) * highest - 0.1 : piece.score);
  }
  model->unk_score_ =
      config.float_scores ? static_cast<float>(lowest) - 10.0f : lowest - kUnknownPenalty;
  model->trie_ = ByteTrie(std::move(found));
  model->byte_fallback_ = config.byte_fallback;
  for (unsigned byte = 0; byte < 256; ++byte) {
    model->byte_ids_[byte] = model->vocab_.find(fmt::format("<0x{:02X}>", byte));
    if (model->byte_ids_[byte] < 0 && config.float_scores) model->byte_fallback_ = false;
  }
  return model;
}

// Leaves in scratch->previous where the best last piece of every prefix begins, and in scratch->ids
// which piece it is.
template <typename Score>
void Unigram::search(std::string_view word, std::vector<Score>* best, ModelScratch* scratch) const {
  const auto size = static_cast<uint32_t>(word.size());
  best->assign(size + 1, 0);
  auto& from = scratch->previous;
  auto& ids = scratch->ids;
  from.assign(size + 1, kUnreached);
  ids.assign(size + 1, unk_id_);
  const auto offer = [&](uint32_t begin, uint32_t end, int32_t id, double sum) {
    const auto score = static_cast<Score>(sum);
    if (from[end] != kUnreached && !(score > (*best)[end])) return;
    (*best)[end] = score;
    from[end] = begin;
    ids[end] = id;
  };
  for (uint32_t begin = 0; begin < size;) {
    const double here = (*best)[begin];
    const uint32_t char_end = begin + decode_at(word, begin).length;
    bool covered = false;
    uint32_t node = trie_.empty() ? ByteTrie::kNone : ByteTrie::kRoot;
    for (uint32_t at = begin; node != ByteTrie::kNone && at < size;) {
      node = trie_.child(node, static_cast<unsigned char>(word[at++]));
      if (node == ByteTrie::kNone) break;
      const int32_t id = trie_.value(node);
      if (id < 0) continue;
      offer(begin, at, id, scores_[static_cast<size_t>(id)] + here);
      covered = covered || at == char_end;
    }
    if (!covered) {
      offer(begin, char_end, unk_id_, unk_score_ + here);
    }
    begin = char_end;
  }
}

void Unigram::tokenize(std::string_view word, ModelScratch* scratch,
                       std::vector<ModelToken>* out) const {
  if (float_scores_) {
    search(word, &scratch->float_scores, scratch);
  } else {
    search(word, &scratch->scores, scratch);
  }
  auto& cuts = scratch->next;  // ends of the pieces, from the last to the first
  cuts.clear();
  for (auto end = static_cast<uint32_t>(word.size()); end > 0; end = scratch->previous[end]) {
    cuts.push_back(end);
  }
  for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
    uint32_t end = *cut;
    const uint32_t begin = scratch->previous[end];
    const int32_t id = scratch->ids[end];
    if (id != unk_id_) {
      out->push_back({id, begin, end});
      continue;
    }
    while (std::next(cut) != cuts.rend() && scratch->ids[*std::next(cut)] == unk_id_) end = *++cut;
    emit(word, begin, end, id, out);
  }
}

// A stretch of unknown characters.
void Unigram::emit(std::string_view word, uint32_t begin, uint32_t end, int32_t id,
                   std::vector<ModelToken>* out) const {
  const std::string_view text = word.substr(begin, end - begin);
  // Joined, the characters may be a piece after all: the reference looks once more.
  if (const int32_t known = float_scores_ ? -1 : vocab_.find(text); known >= 0) {
    out->push_back({known, begin, end});
    return;
  }
  const bool spelled = byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) {
                         return byte_ids_[static_cast<unsigned char>(c)] >= 0;
                       });
  if (!spelled) {
    out->push_back({id, begin, end});
    return;
  }
  for (const char c : text) out->push_back({byte_ids_[static_cast<unsigned char>(c)], begin, end});
}

}  // namespace trireme::text
