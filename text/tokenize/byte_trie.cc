#include "text/tokenize/byte_trie.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::text {

// Places the nodes of the sorted entries, breadth first.
class ByteTrie::Builder {
 public:
  using Entries = std::vector<std::pair<std::string_view, int32_t>>;
  Builder(const Entries& entries, std::vector<Unit>* units) : entries_(entries), units_(*units) {}

  void run() {
    grow(512);
    units_[kNone].parent = kTaken;
    units_[kRoot].parent = kTaken;
    std::vector<Range> level = {{kRoot, 0, entries_.size()}};
    for (size_t depth = 0; !level.empty(); ++depth) {
      std::vector<Range> next;
      for (const Range& range : level) place(range, depth, &next);
      level = std::move(next);
    }
    // Every child look-up of a placed node must stay inside.
    uint32_t last = 0;
    for (const Unit& unit : units_) last = std::max(last, unit.base | 255u);
    units_.resize(std::max<size_t>(last + 1, 512));
  }

 private:
  static constexpr uint32_t kTaken = UINT32_MAX;  // parent of the root and of the null slot
  struct Range {
    uint32_t node;
    size_t begin;
    size_t end;
  };

  void grow(size_t size) {
    if (units_.size() < size) units_.resize(size);
  }
  bool is_free(uint32_t at) const { return at >= units_.size() || units_[at].parent == 0; }

  // Entries [begin, end) share the first `depth` bytes, which lead to the node.
  void place(const Range& range, size_t depth, std::vector<Range>* next) {
    size_t at = range.begin;
    while (at < range.end && entries_[at].first.size() == depth) {
      units_[range.node].value = entries_[at++].second;
    }
    if (at == range.end) return;
    std::vector<std::pair<unsigned char, Range>> children;
    while (at < range.end) {
      const auto byte = static_cast<unsigned char>(entries_[at].first[depth]);
      size_t end = at;
      while (end < range.end && static_cast<unsigned char>(entries_[end].first[depth]) == byte)
        ++end;
      children.push_back({byte, {0, at, end}});
      at = end;
    }
    const uint32_t base = find_base(children);
    units_[range.node].base = base;
    for (auto& [byte, child] : children) {
      child.node = base ^ byte;
      grow(child.node + 1);
      units_[child.node].parent = range.node;
      next->push_back(child);
    }
  }

  template <typename Children>
  uint32_t find_base(const Children& children) {
    const unsigned char first = children.front().first;
    while (!is_free(first_free_)) ++first_free_;
    uint32_t slot = first_free_;
    for (uint32_t tries = 0;; ++slot) {
      if (!is_free(slot)) continue;
      const uint32_t base = slot ^ first;
      // The root's and the null slot's neighbourhood is fine: they are taken.
      const bool fits = std::all_of(children.begin(), children.end(),
                                    [&](const auto& child) { return is_free(base ^ child.first); });
      if (fits) return base;
      // A crowded beginning is left behind, or building would be quadratic.
      if (++tries == 64) first_free_ = slot;
    }
  }

  const Entries& entries_;
  std::vector<Unit>& units_;
  uint32_t first_free_ = 2;
};

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, int32_t>> entries) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  if (entries.empty()) return;
  for (const auto& entry : entries) CHECK(entry.second >= 0);
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  Builder(entries, &units_).run();
}

uint32_t ByteTrie::walk(uint32_t node, std::string_view key) const {
  for (const char c : key) {
    node = child(node, static_cast<unsigned char>(c));
    if (node == kNone) return kNone;
  }
  return node;
}

}  // namespace trireme::text
