// Strings to ids and back, in two flat arrays, and pairs of ids to merges.
//
// Immutable after the last `add`, then thread-safe. Bytes live in one arena: a vocabulary of
// 128,000 entries takes a few MB and a look-up touches two cache lines.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text {

class Vocab {
 public:
  // Sizes the table; no more than `n_entries` may be added.
  explicit Vocab(size_t n_entries = 0);

  // Gives `piece` the id; a piece that is there already moves to the new id.
  void add(std::string_view piece, int32_t id);
  int32_t find(std::string_view piece) const {
    for (size_t slot = hash(piece) & mask_;; slot = (slot + 1) & mask_) {
      const int32_t entry = slots_[slot];
      if (entry < 0) return -1;
      if (entries_[static_cast<size_t>(entry)].equals(piece, arena_)) {
        return entries_[static_cast<size_t>(entry)].id;
      }
    }
  }
  std::string_view piece(int32_t id) const;
  bool has_id(int32_t id) const;
  int32_t n_ids() const { return static_cast<int32_t>(by_id_.size()); }
  size_t size() const { return entries_.size(); }
  static uint64_t hash(std::string_view piece) {
    uint64_t h = piece.size() * 0x9E3779B97F4A7C15ull;
    size_t at = 0;
    for (; at + 8 <= piece.size(); at += 8) {
      uint64_t chunk;
      std::memcpy(&chunk, piece.data() + at, 8);
      h = (h ^ chunk) * 0xD6E8FEB86659FD93ull;
      h ^= h >> 32;
    }
    uint64_t tail = 0;
    if (at < piece.size()) std::memcpy(&tail, piece.data() + at, piece.size() - at);
    h = (h ^ tail) * 0xD6E8FEB86659FD93ull;
    return h ^ (h >> 32);
  }

 private:
  struct Entry {
    uint32_t begin;
    uint32_t size;
    int32_t id;
    bool equals(std::string_view piece, const std::string& arena) const {
      return size == piece.size() && std::memcmp(arena.data() + begin, piece.data(), size) == 0;
    }
  };

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<int32_t> by_id_;  // index into entries_, or -1
  std::vector<int32_t> slots_;
  size_t mask_;
};

// (left id, right id) -> merge index.
class PairMap {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  explicit PairMap(size_t n_pairs = 0);
  void set(int32_t left, int32_t right, uint32_t merge);  // the last one wins
  uint32_t find(int32_t left, int32_t right) const {
    const uint64_t key = pack(left, right);
    for (size_t slot = mix(key) & mask_;; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return slots_[slot].merge;
      if (slots_[slot].key == kEmpty) return kNone;
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key = kEmpty;
    uint32_t merge = kNone;
  };
  static uint64_t pack(int32_t left, int32_t right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  static uint64_t mix(uint64_t key) {
    key *= 0x9E3779B97F4A7C15ull;
    return key ^ (key >> 32);
  }
  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace trireme::text
