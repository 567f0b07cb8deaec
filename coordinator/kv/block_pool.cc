#include "coordinator/kv/block_pool.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace trireme::coordinator {

BlockPool::BlockPool(int64_t n_blocks) {
  CHECK_GT(n_blocks, 0);
  CHECK_LE(n_blocks, INT32_MAX);
  blocks_.resize(static_cast<size_t>(n_blocks));
  empty_.reserve(blocks_.size());
  index_.assign(std::bit_ceil(2 * blocks_.size()), kNone);
  mask_ = index_.size() - 1;
  for (int64_t i = n_blocks - 1; i >= 0; --i) empty_.push_back(static_cast<int32_t>(i));
}

BlockPool::~BlockPool() {
  CHECK_EQ(n_used_, 0) << "a block table outlives its pool";
  CHECK_EQ(n_reserved_, 0) << "a reservation outlives its pool";
}

const BlockPool::Block& BlockPool::at(BlockId id) const {
  CHECK_GE(id.value(), 0);
  CHECK_LT(static_cast<size_t>(id.value()), blocks_.size());
  return blocks_[static_cast<size_t>(id.value())];
}

BlockPool::Block& BlockPool::at(BlockId id) {
  return const_cast<Block&>(static_cast<const BlockPool*>(this)->at(id));
}

BlockId BlockPool::allocate() {
  CHECK_GT(n_free(), 0) << "no free block of " << blocks_.size();
  int32_t index = kNone;
  if (!empty_.empty()) {
    index = empty_.back();
    empty_.pop_back();
  } else {
    CHECK_NE(oldest_, kNone);
    index = oldest_;
    cached_remove(index);
    Block& evicted = blocks_[static_cast<size_t>(index)];
    erase_name(evicted.hash);
    evicted.named = false;
  }
  Block& block = blocks_[static_cast<size_t>(index)];
  CHECK_EQ(block.n_holders, 0);
  CHECK(!block.named);
  block.n_holders = 1;
  ++n_used_;
  return BlockId(index);
}

void BlockPool::reserve(int64_t n) {
  CHECK_LE(n, n_free()) << "more blocks are reserved than are free";
  n_reserved_ += n;
}

void BlockPool::unreserve(int64_t n) {
  CHECK_LE(n, n_reserved_) << "more blocks are given back than were reserved";
  n_reserved_ -= n;
}

void BlockPool::acquire(BlockId id) {
  Block& block = at(id);
  CHECK(block.named) << "block " << id << " is shared but has no name";
  if (block.n_holders++ == 0) {
    CHECK_GT(n_free(), 0) << "the last free blocks are reserved";
    cached_remove(id.value());
    ++n_used_;
  }
}

void BlockPool::release(BlockId id) {
  Block& block = at(id);
  CHECK_GT(block.n_holders, 0) << "block " << id << " is released twice";
  if (--block.n_holders > 0) return;
  --n_used_;
  if (block.named) {
    cached_push_newest(id.value());
  } else {
    empty_.push_back(id.value());
  }
}

void BlockPool::publish(BlockId id, const BlockHash& hash) {
  Block& block = at(id);
  CHECK_GT(block.n_holders, 0);
  CHECK(!block.named) << "block " << id << " is named twice";
  const size_t place = place_of(hash);
  if (index_[place] != kNone) return;
  index_[place] = id.value();
  block.named = true;
  block.hash = hash;
}

std::optional<BlockId> BlockPool::find(const BlockHash& hash) const {
  const int32_t found = index_[place_of(hash)];
  if (found == kNone) return std::nullopt;
  return BlockId(found);
}

size_t BlockPool::place_of(const BlockHash& hash) const {
  size_t place = home(hash);
  while (index_[place] != kNone && blocks_[static_cast<size_t>(index_[place])].hash != hash) {
    place = (place + 1) & mask_;
  }
  return place;
}

// Names behind the gap move up into it, unless that would be before their home.
void BlockPool::erase_name(const BlockHash& hash) {
  size_t gap = place_of(hash);
  CHECK_NE(index_[gap], kNone) << "a name is lost";
  for (size_t place = (gap + 1) & mask_; index_[place] != kNone; place = (place + 1) & mask_) {
    const size_t wants = home(blocks_[static_cast<size_t>(index_[place])].hash);
    if (((place - wants) & mask_) < ((place - gap) & mask_)) continue;
    index_[gap] = index_[place];
    gap = place;
  }
  index_[gap] = kNone;
}

void BlockPool::cached_push_newest(int32_t index) {
  Block& block = blocks_[static_cast<size_t>(index)];
  block.older = newest_;
  block.newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[static_cast<size_t>(newest_)].newer) = index;
  newest_ = index;
  ++n_cached_;
}

void BlockPool::cached_remove(int32_t index) {
  Block& block = blocks_[static_cast<size_t>(index)];
  (block.older == kNone ? oldest_ : blocks_[static_cast<size_t>(block.older)].newer) = block.newer;
  (block.newer == kNone ? newest_ : blocks_[static_cast<size_t>(block.newer)].older) = block.older;
  block.older = block.newer = kNone;
  --n_cached_;
}

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_),
      blocks_(std::exchange(other.blocks_, {})),
      first_(std::exchange(other.first_, 0)) {}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    clear();
    pool_ = other.pool_;
    blocks_ = std::exchange(other.blocks_, {});
    first_ = std::exchange(other.first_, 0);
  }
  return *this;
}

void BlockTable::begin_at(int32_t first) {
  CHECK(blocks_.empty());
  blocks_.assign(static_cast<size_t>(first), BlockId(-1));
  first_ = first;
}

void BlockTable::append_found(BlockId id) {
  pool_->acquire(id);
  blocks_.push_back(id);
}

BlockId BlockTable::append_new() {
  blocks_.push_back(pool_->allocate());
  return blocks_.back();
}

void BlockTable::release_before(int32_t index) {
  for (const int32_t end = std::min(index, size()); first_ < end; ++first_) {
    pool_->release(blocks_[static_cast<size_t>(first_)]);
    blocks_[static_cast<size_t>(first_)] = BlockId(-1);
  }
}

void BlockTable::truncate(int32_t index) {
  while (size() > index) {
    if (size() > first_) pool_->release(blocks_.back());
    blocks_.pop_back();
  }
  first_ = std::min(first_, size());
}

}  // namespace trireme::coordinator
