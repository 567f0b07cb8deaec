#include "text/tokenize/word_cache.h"

namespace trireme::text {

namespace {

// A scratch that a very long word has blown up is not kept.
constexpr size_t kMaxKeptSymbols = 1 << 16;

}  // namespace

void WordCache::keep(std::string_view word, uint32_t shift, const ModelToken* first,
                     const ModelToken* last) {
  const auto n = static_cast<size_t>(last - first);
  if (word.size() > kMaxBytes || n > kMaxTokens || word.empty()) return;
  uint32_t end = shift;
  for (const ModelToken* token = first; token != last; ++token) {
    if (token->begin != end) return;
    end = token->end;
  }
  if (end != shift + word.size()) return;
  Slot& slot = slots_[Vocab::hash(word) & (kSlots - 1)];
  slot.size = static_cast<uint8_t>(word.size());
  slot.n = static_cast<uint8_t>(n);
  std::memcpy(slot.word, word.data(), word.size());
  for (size_t i = 0; i < n; ++i) {
    slot.ids[i] = first[i].id;
    slot.ends[i] = static_cast<uint8_t>(first[i].end - shift);
  }
}

ScratchPool::Lease ScratchPool::take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      Lease scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<EncodeScratch>();
}

void ScratchPool::give_back(Lease scratch) {
  const ModelScratch& model = scratch->model;
  if (model.begins.capacity() > kMaxKeptSymbols || model.previous.capacity() > kMaxKeptSymbols) {
    scratch->model = ModelScratch();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.size() < kMaxKept) free_.push_back(std::move(scratch));
}

}  // namespace trireme::text
