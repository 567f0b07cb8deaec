// A set of byte strings with a number each, walked byte by byte: one array look-up a step.
//
// A double array: the child of node n by byte b is at base[n] ^ b, if that slot says that n is its
// parent. Immutable after build, thread-safe.
//
// Source: Aoe, "An Efficient Digital Search Algorithm by Using a Double-Array Structure", 1989.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme::text {

class ByteTrie {
 public:
  static constexpr uint32_t kRoot = 1;
  static constexpr uint32_t kNone = 0;

  ByteTrie() = default;
  // Values are not negative; of equal keys the last one wins; empty keys are left out.
  explicit ByteTrie(std::vector<std::pair<std::string_view, int32_t>> entries);

  bool empty() const { return units_.empty(); }
  // The node behind `byte`, or kNone. `node` is kRoot or came from here; not for an empty trie.
  uint32_t child(uint32_t node, unsigned char byte) const {
    const uint32_t to = units_[node].base ^ byte;
    return units_[to].parent == node ? to : kNone;
  }
  // The number of the key that ends in `node`, or -1.
  int32_t value(uint32_t node) const { return units_[node].value; }
  // The node behind all bytes of `key`, or kNone.
  uint32_t walk(uint32_t node, std::string_view key) const;

 private:
  struct Unit {
    uint32_t base = 0;
    uint32_t parent = 0;
    int32_t value = -1;
  };
  class Builder;
  std::vector<Unit> units_;
};

}  // namespace trireme::text
