#include "coordinator/kv/sequence_blocks.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace trireme::coordinator {

SequenceBlocks::SequenceBlocks(BlockPool* pool, const KvBudget* budget)
    : pool_(pool), budget_(budget), groups_(static_cast<size_t>(budget->n_groups())) {
  for (Group& group : groups_) group.table = BlockTable(pool);
}

SequenceBlocks::SequenceBlocks(SequenceBlocks&& other) noexcept
    : pool_(other.pool_),
      budget_(other.budget_),
      groups_(std::exchange(other.groups_, {})),
      n_computed_(other.n_computed_),
      bounded_(other.bounded_) {}

SequenceBlocks& SequenceBlocks::operator=(SequenceBlocks&& other) noexcept {
  if (this != &other) {
    clear();
    pool_ = other.pool_;
    budget_ = other.budget_;
    groups_ = std::exchange(other.groups_, {});
    n_computed_ = other.n_computed_;
    bounded_ = other.bounded_;
  }
  return *this;
}

void SequenceBlocks::share_prefix(std::span<const BlockHash> names, int32_t n_found) {
  n_computed_ = n_found * budget_->block_size();
  for (int32_t g = 0; g < budget_->n_groups(); ++g) {
    Group& group = groups_[static_cast<size_t>(g)];
    const int32_t first = budget_->first_block(g, n_computed_);
    group.table.begin_at(first);
    for (int32_t i = first; i < n_found; ++i) {
      const auto block = pool_->find(name_in_group(names[static_cast<size_t>(i)], g));
      CHECK(block.has_value()) << "a found block of group " << g << " is gone";
      group.table.append_found(*block);
    }
    group.n_found = group.n_named = n_found;
  }
}

void SequenceBlocks::reserve(int32_t n_goal) {
  const int32_t n_all = blocks_for(n_goal, budget_->block_size());
  for (int32_t g = budget_->n_full(); g < budget_->n_groups(); ++g) {
    Group& group = groups_[static_cast<size_t>(g)];
    if (n_all - group.n_found <= budget_->most_own(g)) continue;
    group.bounded = bounded_ = true;
    group.n_reserved = static_cast<int32_t>(budget_->most_own(g));
    pool_->reserve(group.n_reserved);
  }
}

void SequenceBlocks::free_reservation(Group& group) {
  pool_->unreserve(group.n_reserved);
  group.n_reserved = 0;
  group.bounded = false;
}

void SequenceBlocks::grow(int32_t end, int32_t n_goal, std::vector<BlockId>& new_blocks,
                          std::vector<int32_t>& n_group_blocks) {
  for (Group& group : groups_) {
    const int32_t n_wanted = blocks_for(group.bounded ? end : n_goal, budget_->block_size());
    while (group.table.size() < n_wanted) {
      if (group.bounded) {
        CHECK_GT(group.n_reserved, 0) << "a prompt outgrows its reservation";
        --group.n_reserved;
        pool_->unreserve(1);
      }
      group.table.append_new();
    }
    if (group.bounded && end == n_goal) free_reservation(group);
    const int32_t first = std::max(group.n_told, group.table.first());
    for (int32_t i = first; i < group.table.size(); ++i) new_blocks.push_back(group.table[i]);
    if (groups_.size() > 1) n_group_blocks.push_back(group.table.size() - first);
    group.n_told = group.table.size();
  }
  // A span without new blocks has no counts.
  if (new_blocks.empty() && groups_.size() > 1) {
    n_group_blocks.resize(n_group_blocks.size() - groups_.size());
  }
  if (end == n_goal) bounded_ = false;
}

void SequenceBlocks::settle(std::span<const BlockHash> names, int32_t n_computed) {
  n_computed_ = n_computed;
  const int32_t n_full = names.empty() ? 0 : n_computed / budget_->block_size();
  for (int32_t g = 0; g < budget_->n_groups(); ++g) {
    Group& group = groups_[static_cast<size_t>(g)];
    if (group.bounded) {
      settle_bounded(g, names, n_computed);
      continue;
    }
    for (int32_t i = std::max(group.n_named, group.table.first()); i < n_full; ++i) {
      pool_->publish(group.table[i], name_in_group(names[static_cast<size_t>(i)], g));
    }
    group.n_named = std::max(group.n_named, n_full);
    if (g >= budget_->n_full()) group.table.release_before(budget_->first_block(g, n_computed));
  }
}

// A block that it gives back is named first, if it has a name by now, and is free at once.
void SequenceBlocks::settle_bounded(int32_t index, std::span<const BlockHash> names,
                                    int32_t n_computed) {
  Group& group = groups_[static_cast<size_t>(index)];
  const int32_t keep = std::min(budget_->first_block(index, n_computed), group.table.size());
  while (group.table.first() < keep) {
    const int32_t i = group.table.first();
    if (i < group.n_found) {
      group.table.release_before(i + 1);
      continue;
    }
    if (!names.empty()) {
      pool_->publish(group.table[i], name_in_group(names[static_cast<size_t>(i)], index));
    }
    group.table.release_before(i + 1);
    pool_->reserve(1);
    ++group.n_reserved;
  }
}

int32_t SequenceBlocks::next_settle(bool with_names) const {
  int32_t next = INT32_MAX;
  if (with_names) {
    next = (n_computed_ / budget_->block_size() + 1) * budget_->block_size();
  }
  for (int32_t g = budget_->n_full(); g < budget_->n_groups(); ++g) {
    const int32_t first = groups_[static_cast<size_t>(g)].table.first();
    next = std::min(next, budget_->first_position_behind(g, first + 1));
  }
  return next;
}

// From the last positions to the first, over all groups: of a prefix the end is evicted first.
void SequenceBlocks::clear() {
  int32_t n_entries = 0;
  for (Group& group : groups_) {
    if (group.bounded) free_reservation(group);
    n_entries = std::max(n_entries, group.table.size());
  }
  for (int32_t n = n_entries - 1; n >= 0 && groups_.size() > 1; --n) {
    for (Group& group : groups_) group.table.truncate(n);
  }
  groups_.clear();  // what is left
  bounded_ = false;
}

int32_t SequenceBlocks::n_held() const {
  int32_t n = 0;
  for (const Group& group : groups_) n += group.table.n_held() + group.n_reserved;
  return n;
}

namespace {

// Which blocks of one sliding group are known to be in the index, while the prefix gets shorter.
struct KnownRun {
  int32_t begin = 0;
  int32_t end = 0;  // empty where it is <= begin
};

// Looks for blocks [first, n) of the group. The answer is n when all are there, else the first that
// is missing: what is behind it is part of no prefix.
int32_t check_window(const BlockPool& pool, std::span<const BlockHash> names, int32_t group,
                     int32_t first, int32_t n, KnownRun& known) {
  const bool overlaps = known.begin < n && n <= known.end;
  const int32_t until = overlaps ? std::max(first, known.begin) : n;
  for (int32_t i = first; i < until; ++i) {
    if (pool.find(name_in_group(names[static_cast<size_t>(i)], group))) continue;
    known = {first, i};
    return i;
  }
  known = {overlaps ? std::min(first, known.begin) : first, n};
  return n;
}

}  // namespace

PrefixHit find_prefix(const BlockPool& pool, const KvBudget& budget,
                      std::span<const BlockHash> names, int32_t most, int32_t n_all) {
  const auto find = [&](int32_t group, int32_t i) {
    return pool.find(name_in_group(names[static_cast<size_t>(i)], group));
  };
  int32_t n = most;
  int32_t n_counted = 0;  // blocks of group 0 of which n_unheld_of_0 are held by nobody
  int64_t n_unheld_of_0 = 0;
  for (int32_t g = 0; g < budget.n_full(); ++g) {
    int32_t n_found = 0;
    for (; n_found < n; ++n_found) {
      const auto block = find(g, n_found);
      if (!block) break;
      if (g == 0) n_unheld_of_0 += pool.is_used(*block) ? 0 : 1;
    }
    n = n_found;
    if (g == 0) n_counted = n;
  }
  // The window of a shorter prefix begins no later: a block that is missing from the window rules
  // out every prefix that is longer than up to it.
  std::vector<KnownRun> known(static_cast<size_t>(budget.n_groups() - budget.n_full()));
  for (bool all_agree = false; !all_agree && n > 0;) {
    all_agree = true;
    for (int32_t g = budget.n_full(); g < budget.n_groups() && n > 0; ++g) {
      // Its last block at least, so that a hit is always of something that was computed.
      const int32_t first = std::min(budget.first_block(g, n * budget.block_size()), n - 1);
      const int32_t fits =
          check_window(pool, names, g, first, n, known[static_cast<size_t>(g - budget.n_full())]);
      if (fits == n) continue;
      n = fits;
      all_agree = false;
    }
  }
  PrefixHit hit;
  hit.n_blocks = n;
  for (int32_t g = 0; g < budget.n_groups(); ++g) {
    int64_t n_unheld = 0;
    if (g == 0 && n == n_counted) {
      n_unheld = n_unheld_of_0;
    } else {
      for (int32_t i = budget.first_block(g, n * budget.block_size()); i < n; ++i) {
        n_unheld += pool.is_used(*find(g, i)) ? 0 : 1;
      }
    }
    hit.n_taken += budget.most_taken(g, n_all, n, n_unheld);
  }
  return hit;
}

}  // namespace trireme::coordinator
