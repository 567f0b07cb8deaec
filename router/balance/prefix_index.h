// PrefixIndex: what one replica's prefix cache is thought to hold, by hashes of token blocks.
//
// A block's hash covers the salt and every token up to the block's end, so that the longest known
// chain is the longest cached prefix. It is a guess (the replica evicts on its own), bounded by an
// LRU of `capacity` blocks. Not thread-safe. Cost: one hash per block looked up, 32 bytes or so per
// block held.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trireme::router {

// Chained hashes of the full blocks of `tokens`: computed once per request, asked of every replica.
std::vector<uint64_t> block_hashes(std::span<const int32_t> tokens, int32_t block_size,
                                   std::string_view salt);

class PrefixIndex {
 public:
  explicit PrefixIndex(size_t capacity) : capacity_(capacity) {}

  // How many leading blocks are known.
  int64_t n_matched(const std::vector<uint64_t>& hashes) const;
  // The replica computes, or has, these blocks now.
  void insert(const std::vector<uint64_t>& hashes);
  size_t size() const { return position_.size(); }

 private:
  size_t capacity_;
  std::list<uint64_t> order_;  // most recent first
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> position_;
};

}  // namespace trireme::router
