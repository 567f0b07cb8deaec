// The pool of KV blocks, as ids: who holds a block, what it is known to contain, which one goes
// next.
//
// A block is used (held by one table or, full and read-only, by several), cached (held by nobody,
// but its contents have a name and may be found again), or empty. Empty blocks are handed out
// first, then the cached one that was released longest ago, which loses its name. Some of those
// that nobody holds may be reserved, as a number: they are no longer free for others. The bytes
// live in the workers; the pool never sees them.
//
// One thread. Every operation is O(1), and none allocates.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "coordinator/kv/block_hash.h"

namespace trireme::coordinator {

class BlockPool {
 public:
  explicit BlockPool(int64_t n_blocks);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  int64_t n_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t n_used() const { return n_used_; }
  // Empty and cached ones that are not reserved.
  int64_t n_free() const { return n_blocks() - n_used_ - n_reserved_; }
  int64_t n_cached() const { return n_cached_; }  // held by nobody, named
  int64_t n_reserved() const { return n_reserved_; }

  // A block that nobody holds, nameless, now held once. CHECKs that there is a free one: what is
  // reserved is unreserved first, by who reserved it.
  BlockId allocate();
  void reserve(int64_t n);    // CHECKs that so many are free
  void unreserve(int64_t n);  // CHECKs that so many are reserved
  // One holder more: of a block found by its name.
  void acquire(BlockId id);
  // One holder less.
  void release(BlockId id);
  bool is_used(BlockId id) const { return at(id).n_holders > 0; }

  // Names the contents of a used, full block. Where another block has the name already this one
  // stays nameless: both hold the same bytes, and one is enough to find.
  void publish(BlockId id, const BlockHash& hash);
  std::optional<BlockId> find(const BlockHash& hash) const;

 private:
  static constexpr int32_t kNone = -1;
  struct Block {
    int32_t n_holders = 0;
    bool named = false;
    int32_t older = kNone;  // neighbours in the list of cached blocks
    int32_t newer = kNone;
    BlockHash hash;
  };

  // The names of blocks, as a table of block ids with open addressing and linear probing: one
  // memory access to look, one to compare, and no allocation. At most half full.
  size_t home(const BlockHash& hash) const { return BlockHashHash()(hash) & mask_; }
  // Where the name is, or the empty place where it belongs.
  size_t place_of(const BlockHash& hash) const;
  void erase_name(const BlockHash& hash);

  const Block& at(BlockId id) const;
  Block& at(BlockId id);
  void cached_push_newest(int32_t index);
  void cached_remove(int32_t index);

  std::vector<Block> blocks_;
  std::vector<int32_t> empty_;  // a stack
  std::vector<int32_t> index_;  // kNone: an empty place
  size_t mask_ = 0;             // places - 1
  int32_t oldest_ = kNone;
  int32_t newest_ = kNone;
  int64_t n_used_ = 0;
  int64_t n_cached_ = 0;
  int64_t n_reserved_ = 0;
};

// A sequence's blocks of one group, in position order; entries before first() are holes. Releases
// them when it goes, last block first, so that of a chain of cached blocks the tail is evicted
// before the head that more prompts share.
class BlockTable {
 public:
  BlockTable() = default;
  explicit BlockTable(BlockPool* pool) : pool_(pool) {}
  ~BlockTable() { clear(); }
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;

  int32_t size() const { return static_cast<int32_t>(blocks_.size()); }
  int32_t first() const { return first_; }
  int32_t n_held() const { return size() - first_; }
  BlockId operator[](int32_t index) const { return blocks_.at(static_cast<size_t>(index)); }
  // By position; what stands in the holes is no block of this table.
  const std::vector<BlockId>& blocks() const { return blocks_; }

  void begin_at(int32_t first);   // of an empty table: that many holes
  void append_found(BlockId id);  // shares a named block
  BlockId append_new();           // takes an empty one
  // Releases the blocks before `index`, the first one first; they become holes.
  void release_before(int32_t index);
  // Releases the blocks from `index` on, the last one first.
  void truncate(int32_t index);
  void clear() { truncate(0); }

 private:
  BlockPool* pool_ = nullptr;
  std::vector<BlockId> blocks_;
  int32_t first_ = 0;
};

}  // namespace trireme::coordinator
