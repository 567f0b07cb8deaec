#include "router/balance/prefix_index.h"

namespace trireme::router {
namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15ULL + (hash << 6) + (hash >> 2);
  hash *= 0xFF51AFD7ED558CCDULL;
  return hash ^ (hash >> 33);
}

}  // namespace

std::vector<uint64_t> block_hashes(std::span<const int32_t> tokens, int32_t block_size,
                                   std::string_view salt) {
  std::vector<uint64_t> hashes;
  if (block_size <= 0) return hashes;
  uint64_t hash = 0x243F6A8885A308D3ULL;
  for (const char c : salt) hash = mix(hash, static_cast<unsigned char>(c));
  const size_t n_blocks = tokens.size() / static_cast<size_t>(block_size);
  hashes.reserve(n_blocks);
  for (size_t i = 0; i < n_blocks * static_cast<size_t>(block_size); ++i) {
    hash = mix(hash, static_cast<uint32_t>(tokens[i]));
    if ((i + 1) % static_cast<size_t>(block_size) == 0) hashes.push_back(hash);
  }
  return hashes;
}

int64_t PrefixIndex::n_matched(const std::vector<uint64_t>& hashes) const {
  int64_t n = 0;
  for (const uint64_t hash : hashes) {
    if (!position_.contains(hash)) break;
    ++n;
  }
  return n;
}

void PrefixIndex::insert(const std::vector<uint64_t>& hashes) {
  // From the last to the first, so that a chain's head is the most recent and outlives its tail.
  for (auto it = hashes.rbegin(); it != hashes.rend(); ++it) {
    const auto known = position_.find(*it);
    if (known != position_.end()) {
      order_.splice(order_.begin(), order_, known->second);
      continue;
    }
    order_.push_front(*it);
    position_.emplace(*it, order_.begin());
    if (position_.size() > capacity_) {
      position_.erase(order_.back());
      order_.pop_back();
    }
  }
}

}  // namespace trireme::router
