// The tokens of words that were seen lately, and the scratch memory of encode calls.
//
// A WordCache is a fixed table, 380 kB, one word a slot: a new word takes the slot of the old one.
// Neither it nor a scratch is thread-safe; a ScratchPool is, and hands each call one of its own.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "text/tokenize/model.h"
#include "text/tokenize/vocab.h"

namespace trireme::text {

class WordCache {
 public:
  WordCache() : slots_(kSlots) {}

  // Appends the tokens of `word`, moved by `shift` bytes; false when it is not here.
  bool find(std::string_view word, uint32_t shift, std::vector<ModelToken>* out) const {
    if (word.size() > kMaxBytes) return false;
    const Slot& slot = slots_[Vocab::hash(word) & (kSlots - 1)];
    if (slot.size != word.size() || std::memcmp(slot.word, word.data(), word.size()) != 0) {
      return false;
    }
    uint32_t begin = shift;
    for (uint32_t i = 0; i < slot.n; ++i) {
      out->push_back({slot.ids[i], begin, shift + slot.ends[i]});
      begin = shift + slot.ends[i];
    }
    return true;
  }

  // Keeps the tokens [first, end) of `word`, which begins at `shift`, if they fit and cover it.
  void keep(std::string_view word, uint32_t shift, const ModelToken* first, const ModelToken* last);

 private:
  static constexpr size_t kSlots = 4096;
  static constexpr size_t kMaxBytes = 39;
  static constexpr uint32_t kMaxTokens = 8;
  struct Slot {
    uint8_t size = 0;  // 0: empty
    uint8_t n = 0;
    char word[kMaxBytes] = {};
    uint8_t ends[kMaxTokens] = {};
    int32_t ids[kMaxTokens] = {};
  };
  std::vector<Slot> slots_;
};

struct EncodeScratch {
  ModelScratch model;
  WordCache words;
};

class ScratchPool {
 public:
  using Lease = std::unique_ptr<EncodeScratch>;
  Lease take();
  void give_back(Lease scratch);

 private:
  static constexpr size_t kMaxKept = 32;
  std::mutex mutex_;
  std::vector<Lease> free_;
};

}  // namespace trireme::text
