// SequenceBlocks: the KV blocks of one sequence: a block table per group of layers, and what of the
// pool is reserved for the rest of its prompt.
//
// A group that sees everything takes all blocks of the known tokens with the first span, and keeps
// them. A group that slides gives a block back once no position to come sees it: `settle` does,
// with the results, since a step in flight still reads what the results before it see. Where a
// prompt is too long to take all its blocks at once (KvBudget::most_own), the group is bounded: it
// takes the blocks of each span out of its reservation, and a block that it gives back returns
// there until the prompt is planned to its end. For that, nobody else may hold the block: a bounded
// group's blocks get their names when they are given back, or when the group is bounded no more.
//
// A table has an entry per block of positions from the sequence's start; entries before first() are
// holes: no step reads them.
//
// One thread. Releases everything when it goes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coordinator/kv/block_pool.h"
#include "coordinator/kv/kv_budget.h"

namespace trireme::coordinator {

class SequenceBlocks {
 public:
  SequenceBlocks() = default;
  // Both outlive the sequence's blocks.
  SequenceBlocks(BlockPool* pool, const KvBudget* budget);
  ~SequenceBlocks() { clear(); }
  SequenceBlocks(SequenceBlocks&& other) noexcept;
  SequenceBlocks& operator=(SequenceBlocks&& other) noexcept;

  // At admission: shares the first `n_found` blocks, as far as the position behind them sees them.
  // find_prefix() says that they are there.
  void share_prefix(std::span<const BlockHash> names, int32_t n_found);
  // At admission, behind share_prefix: sets apart what the groups take later that do not take all
  // blocks of `n_goal` known tokens at once.
  void reserve(int32_t n_goal);
  // Takes the blocks of a span that ends at position `end`, of a sequence with `n_goal` known
  // tokens. Those that are new to the ranks go into the span's, which are empty, and their counts
  // by group behind those of the plan's other spans (StepPlan::n_group_blocks).
  void grow(int32_t end, int32_t n_goal, std::vector<BlockId>& new_blocks,
            std::vector<int32_t>& n_group_blocks);
  // Positions before `n_computed` are computed: names full blocks and gives back those that are no
  // longer seen. `names`: of the full blocks before n_computed, or empty: nothing is named.
  void settle(std::span<const BlockHash> names, int32_t n_computed);
  // The least n_computed with which `settle` has something to do again.
  int32_t next_settle(bool with_names) const;
  void clear();

  bool bounded() const { return bounded_; }  // some group is
  // Blocks that it would give back, reserved ones included; shared ones are counted as its own.
  int32_t n_held() const;
  // The blocks of a group's table, for tests.
  const BlockTable& table(int32_t group) const {
    return groups_.at(static_cast<size_t>(group)).table;
  }

 private:
  struct Group {
    BlockTable table;
    int32_t n_found = 0;     // of the table's blocks, the first: found by name
    int32_t n_told = 0;      // of the table's entries, the first: known to the ranks
    int32_t n_named = 0;     // of the table's blocks, the first: settled with a name or found
    int32_t n_reserved = 0;  // still to be taken, of a bounded group
    bool bounded = false;
  };

  void settle_bounded(int32_t index, std::span<const BlockHash> names, int32_t n_computed);
  void free_reservation(Group& group);

  BlockPool* pool_ = nullptr;
  const KvBudget* budget_ = nullptr;
  std::vector<Group> groups_;
  int32_t n_computed_ = 0;  // at the last settle
  bool bounded_ = false;
};

struct PrefixHit {
  int32_t n_blocks = 0;  // leading blocks of the tokens that need not be computed
  int64_t n_taken = 0;   // of the pool's free blocks, what an admission with them takes
};

// The longest prefix of at most `most` blocks of which the index has what the position behind it
// sees: all blocks of the groups that see everything, and of a group that slides those of its
// window. `names`: of the leading full blocks; `n_all`: blocks of all known tokens.
//
// Cost: a lookup per block and group at most; with nothing to find, one per window.
PrefixHit find_prefix(const BlockPool& pool, const KvBudget& budget,
                      std::span<const BlockHash> names, int32_t most, int32_t n_all);

}  // namespace trireme::coordinator
