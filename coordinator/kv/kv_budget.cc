#include "coordinator/kv/kv_budget.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::coordinator {

namespace {
constexpr int64_t kUnbounded = INT64_MAX / 2;  // sums of two stay numbers
}  // namespace

KvBudget::KvBudget(std::vector<plan::KvGroup> groups, int32_t block_size, int64_t most_in_flight)
    : groups_(std::move(groups)), block_size_(block_size) {
  CHECK(!groups_.empty());
  CHECK_GT(block_size_, 0);
  CHECK_GT(most_in_flight, 0);
  for (const plan::KvGroup& group : groups_) {
    if (group.is_full()) {
      CHECK_EQ(n_full_, static_cast<int32_t>(most_own_.size())) << "full groups come first";
      ++n_full_;
      most_own_.push_back(kUnbounded);
      most_found_.push_back(kUnbounded);
      continue;
    }
    CHECK_GT(group.span, 0);
    // Positions from the first that the next one sees to the last that is planned, wherever they
    // begin in a block.
    const int64_t n_tokens = group.span - 1 + most_in_flight;
    most_own_.push_back((n_tokens + block_size_ - 2) / block_size_ + 1);
    most_found_.push_back((group.span - 1 + block_size_ - 1) / block_size_);
  }
}

int32_t KvBudget::first_position_behind(int32_t group, int32_t block) const {
  const plan::KvGroup& g = at(group);
  const int64_t key = int64_t{block} * block_size_;
  int64_t position = INT32_MAX;
  if (g.attention == plan::AttentionKind::kSliding) position = key + g.span - 1;
  if (g.attention == plan::AttentionKind::kChunked) {
    position = (key + g.span - 1) / g.span * g.span;
  }
  return static_cast<int32_t>(std::min<int64_t>(position, INT32_MAX));
}

int64_t KvBudget::most_taken(int32_t group, int64_t n_all, int64_t n_found,
                             int64_t n_unheld) const {
  const auto g = static_cast<size_t>(group);
  return std::min(n_all - n_found + n_unheld, most_own_[g] + most_found_[g]);
}

int64_t KvBudget::most_blocks(int64_t n_tokens) const {
  const int64_t n_all = (n_tokens + block_size_ - 1) / block_size_;
  int64_t n_blocks = 0;
  for (int32_t g = 0; g < n_groups(); ++g) n_blocks += most_taken(g, n_all, 0, 0);
  return n_blocks;
}

int32_t KvBudget::longest(int64_t n_blocks) const {
  int64_t fits = 0;  // in blocks of a table
  int64_t too_long = int64_t{INT32_MAX} / block_size_ + 1;
  while (too_long - fits > 1) {
    const int64_t middle = (fits + too_long) / 2;
    (most_blocks(middle * block_size_) <= n_blocks ? fits : too_long) = middle;
  }
  return static_cast<int32_t>(fits * block_size_);
}

}  // namespace trireme::coordinator
