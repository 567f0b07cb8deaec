#include "text/tokenize/vocab.h"

#include "base/check.h"

namespace trireme::text {

namespace {

// Half-empty tables keep probes short.
size_t table_size(size_t n) {
  size_t size = 16;
  while (size < 2 * n) size *= 2;
  return size;
}

}  // namespace

Vocab::Vocab(size_t n_entries) : slots_(table_size(n_entries), -1), mask_(slots_.size() - 1) {
  entries_.reserve(n_entries);
}

void Vocab::add(std::string_view piece, int32_t id) {
  CHECK(id >= 0);
  if (static_cast<size_t>(id) >= by_id_.size()) by_id_.resize(static_cast<size_t>(id) + 1, -1);
  size_t slot = hash(piece) & mask_;
  for (; slots_[slot] >= 0; slot = (slot + 1) & mask_) {
    Entry& entry = entries_[static_cast<size_t>(slots_[slot])];
    if (!entry.equals(piece, arena_)) continue;
    entry.id = id;
    by_id_[static_cast<size_t>(id)] = slots_[slot];
    return;
  }
  CHECK(2 * entries_.size() <= slots_.size());
  const auto index = static_cast<int32_t>(entries_.size());
  entries_.push_back(
      {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(piece.size()), id});
  arena_.append(piece);
  slots_[slot] = index;
  by_id_[static_cast<size_t>(id)] = index;
}

bool Vocab::has_id(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < by_id_.size() && by_id_[static_cast<size_t>(id)] >= 0;
}

std::string_view Vocab::piece(int32_t id) const {
  if (!has_id(id)) return {};
  const Entry& entry = entries_[static_cast<size_t>(by_id_[static_cast<size_t>(id)])];
  return std::string_view(arena_).substr(entry.begin, entry.size);
}

PairMap::PairMap(size_t n_pairs) : slots_(table_size(n_pairs)), mask_(slots_.size() - 1) {}

void PairMap::set(int32_t left, int32_t right, uint32_t merge) {
  const uint64_t key = pack(left, right);
  size_t slot = mix(key) & mask_;
  while (slots_[slot].key != kEmpty && slots_[slot].key != key) slot = (slot + 1) & mask_;
  slots_[slot] = {key, merge};
}

}  // namespace trireme::text
