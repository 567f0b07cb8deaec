// KvBudget: how many blocks a sequence takes, by the groups of layers that have block tables of
// their own.
//
// A group that sees everything keeps every block. One that slides keeps the blocks that the next
// position sees, and those of the tokens that are in flight; the rest goes back. So a prompt that
// is longer than that takes its blocks chunk by chunk, out of a part of the pool that is reserved
// for it when it is admitted: a prefill under way never lacks one, in either case.
//
// Pure; immutable. The rules of attention are plan::KvGroup's (parallel/plan/kv_layout.h).
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/plan/kv_layout.h"

namespace trireme::coordinator {

// Blocks that hold `n_tokens` positions.
inline int32_t blocks_for(int32_t n_tokens, int32_t block_size) {
  return (n_tokens + block_size - 1) / block_size;
}

class KvBudget {
 public:
  // `groups`: at least one, those that see everything first. `most_in_flight`: tokens of one
  // sequence that may be in unfinished steps.
  KvBudget(std::vector<plan::KvGroup> groups, int32_t block_size, int64_t most_in_flight);

  int32_t block_size() const { return block_size_; }
  int32_t n_groups() const { return static_cast<int32_t>(groups_.size()); }
  int32_t n_full() const { return n_full_; }  // groups [0, n_full) see everything
  bool slides() const { return n_full_ < n_groups(); }

  // The first block of the group's table that `position` sees.
  int32_t first_block(int32_t group, int32_t position) const {
    return at(group).first_visible(position) / block_size_;
  }
  // The first position that sees nothing of the blocks before `block`; INT32_MAX: there is none.
  int32_t first_position_behind(int32_t group, int32_t block) const;

  // The most blocks that a prefill holds in the group, besides those found in the prefix index.
  int64_t most_own(int32_t group) const { return most_own_[static_cast<size_t>(group)]; }
  // Of the pool's free blocks, what a prefill takes in the group at most: its table will have
  // `n_all` blocks, of which the prefix index has `n_found`, and nobody holds `n_unheld` of those
  // that are seen. It never grows with n_found, so that what is decided still fits when more is
  // found later.
  int64_t most_taken(int32_t group, int64_t n_all, int64_t n_found, int64_t n_unheld) const;

  // The most blocks that a sequence of `n_tokens` known tokens takes, at any time, in all groups.
  int64_t most_blocks(int64_t n_tokens) const;
  // The longest sequence, in tokens, that a pool of so many blocks can hold.
  int32_t longest(int64_t n_blocks) const;

 private:
  const plan::KvGroup& at(int32_t group) const { return groups_[static_cast<size_t>(group)]; }

  std::vector<plan::KvGroup> groups_;
  int32_t block_size_;
  int32_t n_full_ = 0;
  std::vector<int64_t> most_own_;    // by group; INT64_MAX / 2 where everything is kept
  std::vector<int64_t> most_found_;  // blocks before a block's first position that it sees
};

}  // namespace trireme::coordinator
