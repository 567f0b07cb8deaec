#include "text/tokenize/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "text/tokenize/byte_alphabet.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// Up to here scanning for the best pair beats a heap.
constexpr size_t kShortWord = 24;
// Longer entries are never words that are worth a shortcut.
constexpr size_t kMaxWholeWordBytes = 64;
constexpr uint32_t kEnd = UINT32_MAX;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// Ids in scratch below zero are frozen: ~id, and merge with nothing.
int32_t frozen_id(int32_t id) { return ~id; }
int32_t plain_id(int32_t id) { return id < 0 ? ~id : id; }

}  // namespace

Result<std::unique_ptr<Bpe>> Bpe::build(const BpeConfig& config) {
  auto bpe = std::make_unique<Bpe>();
  bpe->byte_level_ = config.byte_level;
  bpe->byte_fallback_ = config.byte_fallback;
  bpe->ignore_merges_ = config.ignore_merges;
  bpe->fuse_unk_ = config.fuse_unk;
  bpe->continuing_prefix_ = config.continuing_prefix;
  bpe->end_suffix_ = config.end_suffix;
  TRY(bpe->add_vocab(config));
  TRY(bpe->add_merges(config));
  for (const std::string& piece : config.frozen) bpe->frozen_.add(piece, bpe->vocab_.find(piece));
  bpe->find_whole_words();
  bpe->parts_at_marks_ = bpe->parts_at_marks(config);
  return bpe;
}

Status Bpe::add_vocab(const BpeConfig& config) {
  vocab_ = Vocab(config.vocab.size());
  size_t bytes = 0;
  for (const auto& [piece, id] : config.vocab) {
    if (id < 0 || id >= kMaxVocab) {
      return invalid_argument(fmt::format("vocabulary id {} is not in 0..{}", id, kMaxVocab - 1));
    }
    bytes += piece.size();
    if (bytes > UINT32_MAX) return invalid_argument("the vocabulary's text is over 4 GB");
    vocab_.add(piece, id);
  }
  if (byte_level_) {
    raw_ = Vocab(config.vocab.size());
    for (const auto& [piece, id] : config.vocab) {
      if (const auto raw = from_byte_alphabet(piece); raw && vocab_.find(piece) == id)
        raw_.add(*raw, id);
    }
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = byte_level_      ? raw_.find(std::string_view(&c, 1))
                      : byte_fallback_ ? vocab_.find(fmt::format("<0x{:02X}>", byte))
                                       : -1;
  }
  if (!config.unk_token.empty()) {
    unk_id_ = vocab_.find(config.unk_token);
    if (unk_id_ < 0) {
      return invalid_argument(
          fmt::format("the unknown token \"{}\" is not in the vocabulary", config.unk_token));
    }
  }
  return {};
}

Status Bpe::add_merges(const BpeConfig& config) {
  pairs_ = PairMap(config.merges.size());
  merges_.reserve(config.merges.size());
  for (const BpeMerge& merge : config.merges) {
    const int32_t left = vocab_.find(merge.left);
    const int32_t right = vocab_.find(merge.right);
    // The right part of a merge loses its prefix.
    const size_t prefix = std::min(config.continuing_prefix.size(), merge.right.size());
    const int32_t whole = vocab_.find(merge.left + merge.right.substr(prefix));
    if (left < 0 || right < 0 || whole < 0) {
      return invalid_argument(fmt::format("merge {} names \"{}\", which is not in the vocabulary",
                                          merges_.size(),
                                          left < 0    ? merge.left
                                          : right < 0 ? merge.right
                                                      : merge.left + merge.right));
    }
    pairs_.set(left, right, static_cast<uint32_t>(merges_.size()));
    merges_.push_back({merge.rank, whole});
  }
  return {};
}

void Bpe::find_whole_words() {
  whole_.assign(static_cast<size_t>(vocab_.n_ids()), false);
  ModelScratch scratch;
  for (int32_t id = 0; id < words().n_ids(); ++id) {
    const std::string_view word = words().piece(id);
    if (word.empty() || word.size() > kMaxWholeWordBytes || words().find(word) != id) continue;
    split_symbols(word, &scratch);
    merge_all(&scratch);
    whole_[static_cast<size_t>(id)] = scratch.ids.size() == 1 && scratch.ids[0] == id;
  }
}

// True when what stands before a space mark, unless it is one too, never joins it.
bool Bpe::parts_at_marks(const BpeConfig& config) const {
  if (byte_level_ || ignore_merges_ || vocab_.find(kSpaceMark) < 0) return false;
  if (!continuing_prefix_.empty() || !end_suffix_.empty()) return false;
  const auto crosses = [](std::string_view text) {
    for (size_t at = text.find(kSpaceMark, 1); at != std::string_view::npos;
         at = text.find(kSpaceMark, at + 1)) {
      if (!text.substr(0, at).ends_with(kSpaceMark)) return true;
    }
    return false;
  };
  return std::none_of(config.merges.begin(), config.merges.end(),
                      [&](const BpeMerge& merge) { return crosses(merge.left + merge.right); }) &&
         std::none_of(config.frozen.begin(), config.frozen.end(), crosses);
}

uint32_t Bpe::part_end(std::string_view word, uint32_t begin) const {
  const auto size = static_cast<uint32_t>(word.size());
  if (!parts_at_marks_) return size;
  for (size_t at = word.find(kSpaceMark, begin + 1); at != std::string_view::npos;
       at = word.find(kSpaceMark, at + 1)) {
    if (!word.substr(begin, at - begin).ends_with(kSpaceMark)) return static_cast<uint32_t>(at);
  }
  return size;
}

void Bpe::tokenize(std::string_view word, ModelScratch* scratch,
                   std::vector<ModelToken>* out) const {
  if (ignore_merges_ || word.size() <= kMaxWholeWordBytes) {
    const int32_t id = words().find(word);
    if (id >= 0 && (ignore_merges_ || whole_[static_cast<size_t>(id)])) {
      out->push_back({id, 0, static_cast<uint32_t>(word.size())});
      return;
    }
  }
  split_symbols(word, scratch);
  merge_all(scratch);
  const auto& ids = scratch->ids;
  for (size_t i = 0; i < ids.size(); ++i) {
    out->push_back({plain_id(ids[i]), scratch->begins[i], scratch->begins[i + 1]});
  }
}

// Leaves the first symbols in scratch->ids, and where each begins (and the end of the last) in
// scratch->begins.
void Bpe::split_symbols(std::string_view word, ModelScratch* scratch) const {
  scratch->ids.clear();
  scratch->begins.clear();
  if (!byte_level_) {
    split_characters(word, scratch);
  } else {
    for (uint32_t i = 0; i < word.size(); ++i) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(word[i])];
      if (id < 0 && unk_id_ < 0) continue;  // a byte that the vocabulary lacks vanishes
      scratch->ids.push_back(id < 0 ? unk_id_ : id);
      scratch->begins.push_back(i);
    }
  }
  scratch->begins.push_back(static_cast<uint32_t>(word.size()));
}

int32_t Bpe::find_character(std::string_view word, uint32_t begin, uint32_t end) const {
  const std::string_view character = word.substr(begin, end - begin);
  const bool prefixed = begin > 0 && !continuing_prefix_.empty();
  const bool suffixed = end == word.size() && !end_suffix_.empty();
  if (!prefixed && !suffixed) return vocab_.find(character);
  std::string spelled = prefixed ? continuing_prefix_ : std::string();
  spelled += character;
  if (suffixed) spelled += end_suffix_;
  return vocab_.find(spelled);
}

void Bpe::split_characters(std::string_view word, ModelScratch* scratch) const {
  bool after_unk = false;
  const auto add = [&](int32_t id, uint32_t begin) {
    scratch->ids.push_back(id);
    scratch->begins.push_back(begin);
    after_unk = false;
  };
  for (uint32_t at = 0; at < word.size();) {
    uint32_t end = at;
    if (!frozen_.empty()) {
      const int32_t id = frozen_.longest(word, at, &end, [](int32_t, uint32_t) { return true; });
      if (id >= 0) {
        add(frozen_id(id), at);
        at = end;
        continue;
      }
    }
    end = at + decode_at(word, at).length;
    const std::string_view character = word.substr(at, end - at);
    const int32_t id = find_character(word, at, end);
    const auto has_byte = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; };
    if (id >= 0) {
      add(id, at);
    } else if (byte_fallback_ && std::all_of(character.begin(), character.end(), has_byte)) {
      for (uint32_t i = at; i < end; ++i) add(byte_ids_[static_cast<unsigned char>(word[i])], i);
    } else if (unk_id_ >= 0 && !(fuse_unk_ && after_unk)) {
      add(unk_id_, at);
      after_unk = true;
    }
    at = end;
  }
}

void Bpe::merge_all(ModelScratch* scratch) const {
  if (scratch->ids.size() < 2) return;
  if (scratch->ids.size() <= kShortWord) {
    merge_short(scratch);
  } else {
    merge_long(scratch);
  }
}

void Bpe::merge_short(ModelScratch* scratch) const {
  auto& ids = scratch->ids;
  auto& begins = scratch->begins;
  std::array<uint32_t, kShortWord> merge_at;  // merge of symbols i and i + 1
  for (size_t i = 0; i + 1 < ids.size(); ++i) merge_at[i] = pair(ids[i], ids[i + 1]);
  while (ids.size() > 1) {
    size_t best = ids.size();
    uint32_t best_rank = UINT32_MAX;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      if (merge_at[i] == PairMap::kNone) continue;
      const uint32_t rank = merges_[merge_at[i]].rank;
      if (best == ids.size() || rank < best_rank) {
        best = i;
        best_rank = rank;
      }
    }
    if (best == ids.size()) return;
    ids[best] = merges_[merge_at[best]].id;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
    begins.erase(begins.begin() + static_cast<ptrdiff_t>(best) + 1);
    for (size_t i = best + 1; i + 1 < ids.size(); ++i) merge_at[i] = merge_at[i + 1];
    if (best > 0) merge_at[best - 1] = pair(ids[best - 1], ids[best]);
    if (best + 1 < ids.size()) merge_at[best] = pair(ids[best], ids[best + 1]);
  }
}

void Bpe::merge_long(ModelScratch* scratch) const {
  auto& ids = scratch->ids;
  const auto n = static_cast<uint32_t>(ids.size());
  auto& next = scratch->next;
  auto& previous = scratch->previous;
  auto& merge_at = scratch->merges;  // merge of a symbol with the one behind it; kNone: none
  auto& heap = scratch->heap;        // (rank, position), smallest on top; stale entries are skipped
  next.resize(n);
  previous.resize(n);
  merge_at.assign(n, PairMap::kNone);
  heap.clear();
  const auto entry = [&](uint32_t at) { return (uint64_t{merges_[merge_at[at]].rank} << 32) | at; };
  for (uint32_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kEnd : i - 1;
    next[i] = i + 1 == n ? kEnd : i + 1;
    if (i + 1 < n) merge_at[i] = pair(ids[i], ids[i + 1]);
    if (merge_at[i] != PairMap::kNone) heap.push_back(entry(i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto update = [&](uint32_t at) {
    merge_at[at] = next[at] == kEnd ? PairMap::kNone : pair(ids[at], ids[next[at]]);
    if (merge_at[at] == PairMap::kNone) return;
    heap.push_back(entry(at));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto at = static_cast<uint32_t>(top);
    if (merge_at[at] == PairMap::kNone || entry(at) != top) continue;
    const uint32_t gone = next[at];
    ids[at] = merges_[merge_at[at]].id;
    merge_at[gone] = PairMap::kNone;
    next[at] = next[gone];
    if (next[at] != kEnd) previous[next[at]] = at;
    update(at);
    if (previous[at] != kEnd) update(previous[at]);
  }
  uint32_t kept = 0;
  for (uint32_t at = 0; at != kEnd; at = next[at], ++kept) {
    ids[kept] = ids[at];
    scratch->begins[kept] = scratch->begins[at];
  }
  scratch->begins[kept] = scratch->begins[n];
  ids.resize(kept);
  scratch->begins.resize(kept + 1);
}

}  // namespace trireme::text
