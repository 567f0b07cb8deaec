// Block tables by group of layers: what slides gives back, what a prompt reserves, what a prefix
// needs.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>

#include "coordinator/kv/sequence_blocks.h"

namespace trireme::coordinator {
namespace {

constexpr plan::KvGroup kFull;

plan::KvGroup sliding(int32_t span) { return {plan::AttentionKind::kSliding, span}; }
plan::KvGroup chunked(int32_t span) { return {plan::AttentionKind::kChunked, span}; }

// What a span says of new blocks.
struct Told {
  std::vector<BlockId> new_blocks;
  std::vector<int32_t> counts;  // by group
};

std::vector<BlockHash> names_of(int n, uint8_t salt = 0) {
  std::vector<BlockHash> names(static_cast<size_t>(n));
  for (size_t i = 0; i < names.size(); ++i) {
    names[i].bytes[0] = static_cast<uint8_t>(i);
    names[i].bytes[1] = static_cast<uint8_t>(i >> 8);
    names[i].bytes[9] = salt;
  }
  return names;
}

TEST(NameInGroup, SetsTheGroupsApartAndLeavesTheFirstAlone) {
  const BlockHash hash = names_of(1).front();
  EXPECT_EQ(name_in_group(hash, 0), hash);
  std::set<std::array<uint8_t, 32>> names;
  for (int32_t g = 0; g < 8; ++g) names.insert(name_in_group(hash, g).bytes);
  EXPECT_EQ(names.size(), 8u);
}

TEST(BlockPool, WhatIsReservedIsNotFree) {
  BlockPool pool(3);
  pool.reserve(2);
  EXPECT_EQ(pool.n_free(), 1);
  const BlockId id = pool.allocate();
  EXPECT_EQ(pool.n_free(), 0);
  EXPECT_DEATH(pool.allocate(), "no free block");
  EXPECT_DEATH(pool.reserve(1), "more blocks are reserved than are free");
  EXPECT_DEATH(pool.unreserve(3), "more blocks are given back than were reserved");
  pool.unreserve(2);
  pool.release(id);
  EXPECT_EQ(pool.n_free(), 3);
}

TEST(BlockTable, HolesAreHeldByNobody) {
  BlockPool pool(8);
  BlockTable table(&pool);
  table.begin_at(3);
  for (int i = 0; i < 4; ++i) table.append_new();
  EXPECT_EQ(table.size(), 7);
  EXPECT_EQ(table.n_held(), 4);
  table.release_before(5);
  EXPECT_EQ(table.n_held(), 2);
  EXPECT_EQ(pool.n_used(), 2);
  table.release_before(2);
  EXPECT_EQ(table.first(), 5);
  table.truncate(6);
  EXPECT_EQ(pool.n_used(), 1);
  table.truncate(1);
  EXPECT_EQ(pool.n_used(), 0);
  EXPECT_EQ(table.size(), 1);
  table.clear();
}

TEST(KvBudget, OneGroupThatSeesEverythingTakesABlockPerBlock) {
  const KvBudget budget({kFull}, 16, 512);
  EXPECT_FALSE(budget.slides());
  EXPECT_EQ(budget.most_blocks(1), 1);
  EXPECT_EQ(budget.most_blocks(160), 10);
  EXPECT_EQ(budget.longest(10), 160);
  EXPECT_EQ(budget.longest(0), 0);
  EXPECT_EQ(budget.most_taken(0, 10, 4, 3), 9);
  EXPECT_EQ(budget.longest(INT64_MAX / 4), INT32_MAX / 16 * 16) << "no overflow";
}

TEST(KvBudget, ASlidingSequenceIsBoundedHoweverLongItGets) {
  const KvBudget budget({sliding(24)}, 16, 16);
  // 23 keys before the next position and 16 in flight: 39 tokens lie in 4 blocks at most; and a
  // prefix hit of 2.
  EXPECT_EQ(budget.most_own(0), 4);
  EXPECT_EQ(budget.most_blocks(1'000'000), 6);
  EXPECT_EQ(budget.longest(6), INT32_MAX / 16 * 16);
  EXPECT_EQ(budget.longest(5), 80) << "shorter ones still fit whole";
  const KvBudget hybrid({kFull, sliding(24), sliding(24)}, 16, 16);
  EXPECT_EQ(hybrid.most_blocks(1600), 100 + 6 + 6);
  EXPECT_EQ(hybrid.longest(112), 1600);
}

TEST(KvBudget, FirstPositionBehindIsTheFirstThatSeesNothingOfTheBlock) {
  for (const plan::KvGroup& group : {sliding(1), sliding(24), sliding(16), chunked(24)}) {
    const KvBudget budget({group}, 16, 16);
    for (int32_t block = 1; block < 20; ++block) {
      int32_t want = 0;
      while (group.first_visible(want) < block * 16) ++want;
      EXPECT_EQ(budget.first_position_behind(0, block), want);
    }
  }
  EXPECT_EQ(KvBudget({kFull}, 16, 16).first_position_behind(0, 1), INT32_MAX);
}

// Which blocks the index has, by group, in a model of it.
using Index = std::vector<std::vector<bool>>;

int32_t longest_prefix(const std::vector<plan::KvGroup>& groups, const Index& has, int32_t most,
                       int32_t block_size) {
  for (int32_t n = most; n > 0; --n) {
    bool good = true;
    for (size_t g = 0; g < groups.size(); ++g) {
      const int32_t first = groups[g].first_visible(n * block_size) / block_size;
      for (int32_t i = std::min(first, n - 1); i < n; ++i) good &= has[g][static_cast<size_t>(i)];
    }
    if (good) return n;
  }
  return 0;
}

TEST(FindPrefix, IsTheLongestOfWhichEveryGroupHasWhatIsSeen) {
  std::mt19937 rng(3);
  const std::vector<std::vector<plan::KvGroup>> layouts = {
      {kFull},       {sliding(5)},        {sliding(40)},
      {chunked(24)}, {kFull, sliding(9)}, {kFull, kFull, sliding(20), chunked(16), sliding(3)},
  };
  int n_hits = 0;
  for (int round = 0; round < 4000; ++round) {
    const auto& groups = layouts[rng() % layouts.size()];
    const KvBudget budget(groups, 4, 8);
    const auto n_names = static_cast<int32_t>(1 + rng() % 30);
    const auto names = names_of(n_names);
    BlockPool pool(400);
    BlockTable held(&pool);
    BlockTable cached(&pool);
    Index has(groups.size(), std::vector<bool>(static_cast<size_t>(n_names)));
    std::set<int32_t> used;
    const uint32_t density = 60 + rng() % 41;
    for (size_t g = 0; g < groups.size(); ++g) {
      for (int32_t i = 0; i < n_names; ++i) {
        const auto at = static_cast<size_t>(i);
        if (rng() % 100 >= density) continue;
        has[g][at] = true;
        const BlockId id = (rng() % 2 == 0 ? held : cached).append_new();
        pool.publish(id, name_in_group(names[at], static_cast<int32_t>(g)));
      }
    }
    cached.clear();
    const auto most = static_cast<int32_t>(rng() % static_cast<uint32_t>(n_names + 1));
    const PrefixHit hit = find_prefix(pool, budget, names, most, n_names);
    ASSERT_EQ(hit.n_blocks, longest_prefix(groups, has, most, 4));
    n_hits += hit.n_blocks > 0 ? 1 : 0;
    // It can be shared, and takes no more free blocks than was said.
    const int64_t n_free = pool.n_free();
    SequenceBlocks blocks(&pool, &budget);
    blocks.share_prefix(names, hit.n_blocks);
    blocks.reserve(n_names * 4);
    Told span;
    blocks.grow(std::min(n_names * 4, hit.n_blocks * 4 + 8), n_names * 4, span.new_blocks,
                span.counts);
    ASSERT_LE(n_free - pool.n_free(), hit.n_taken);
  }
  EXPECT_GT(n_hits, 1000);
}

TEST(FindPrefix, WithoutAnythingToFindItLooksAtOneBlockOfEachWindow) {
  // A pool that holds nothing: the answer is fast however long the prompt is. 100,000 blocks with a
  // window of 100 are 1,000 lookups.
  const BlockPool pool(4);
  const KvBudget budget({sliding(400)}, 4, 8);
  std::vector<BlockHash> names(100'000);
  EXPECT_EQ(find_prefix(pool, budget, names, 100'000, 100'000).n_blocks, 0);
}

// A prompt of 40 blocks in spans of 2 blocks, then decoding, in a pool that could not hold it.
TEST(SequenceBlocks, ALongPromptStaysWithinItsReservation) {
  const KvBudget budget({sliding(9), sliding(9)}, 4, 8);
  const int64_t most = budget.most_blocks(1000);
  BlockPool pool(most);
  const auto names = names_of(300);
  SequenceBlocks blocks(&pool, &budget);
  blocks.share_prefix(names, 0);
  blocks.reserve(160);
  EXPECT_TRUE(blocks.bounded());
  EXPECT_EQ(pool.n_used(), 0);
  EXPECT_EQ(blocks.n_held(), 2 * budget.most_own(0));
  EXPECT_EQ(pool.n_free(), most - blocks.n_held());
  int32_t settle_at = blocks.next_settle(true);
  for (int32_t end = 8; end <= 160; end += 8) {
    Told span;
    blocks.grow(end, 160, span.new_blocks, span.counts);
    EXPECT_EQ(span.counts, (std::vector<int32_t>{2, 2}));
    EXPECT_EQ(blocks.bounded(), end < 160);
    if (end >= settle_at) {
      blocks.settle(std::span(names).first(static_cast<size_t>(end / 4)), end);
      settle_at = blocks.next_settle(true);
    }
    EXPECT_EQ(blocks.table(0).first(), std::max(0, end - 8) / 4);
    EXPECT_LE(pool.n_used(), 2 * budget.most_own(0));
  }
  EXPECT_EQ(pool.n_reserved(), 0);
  EXPECT_TRUE(pool.find(name_in_group(names[39], 1)).has_value()) << "named behind the prompt";
  for (int32_t n = 161; n < 1000; ++n) {  // and on, a token at a time
    Told span;
    blocks.grow(n, n, span.new_blocks, span.counts);
    EXPECT_EQ(span.new_blocks.size(), n % 4 == 1 ? 2u : 0u);
    if (n >= settle_at) {
      blocks.settle(std::span(names).first(static_cast<size_t>(n / 4)), n);
      settle_at = blocks.next_settle(true);
    }
    ASSERT_LE(pool.n_used(), 2 * 4) << "the 9 tokens that are seen lie in 3 blocks";
    ASSERT_EQ(pool.n_used(), blocks.n_held());
  }
  blocks.clear();
  EXPECT_EQ(pool.n_used(), 0);
}

TEST(SequenceBlocks, WhatLeftTheWindowIsStillFound) {
  const KvBudget budget({kFull, sliding(9)}, 4, 100);
  BlockPool pool(100);
  const auto names = names_of(25);
  {
    SequenceBlocks blocks(&pool, &budget);
    Told span;
    blocks.share_prefix(names, 0);
    blocks.reserve(100);
    blocks.grow(100, 100, span.new_blocks, span.counts);
    blocks.settle(names, 100);
    EXPECT_EQ(blocks.table(1).first(), 23);
    EXPECT_EQ(pool.n_used(), 25 + 2);
    for (int32_t most = 1; most <= 25; ++most) {
      EXPECT_EQ(find_prefix(pool, budget, names, most, 26).n_blocks, most);
    }
  }
  EXPECT_EQ(pool.n_cached(), 50);
  // When one sliding block is evicted, the prefixes whose window it was in are gone, others not.
  SequenceBlocks other(&pool, &budget);
  Told span;
  for (int i = 0; pool.find(name_in_group(names[0], 1)).has_value(); ++i) {
    other.grow(4 * (i + 1), 4 * (i + 1), span.new_blocks, span.counts);
  }
  EXPECT_EQ(find_prefix(pool, budget, names, 2, 26).n_blocks, 0);
  EXPECT_EQ(find_prefix(pool, budget, names, 20, 26).n_blocks, 20);
}

TEST(SequenceBlocks, FoundBlocksAreSharedAndRejoinTheOthersWhenTheyLeaveTheWindow) {
  const KvBudget budget({sliding(9)}, 4, 8);
  BlockPool pool(30);
  const auto names = names_of(20);
  SequenceBlocks first(&pool, &budget);
  Told span;
  first.grow(40, 40, span.new_blocks, span.counts);
  first.settle(std::span(names).first(10), 40);
  EXPECT_EQ(pool.n_used(), 2) << "positions 32 to 39 are what position 40 sees";
  const PrefixHit hit = find_prefix(pool, budget, names, 10, 20);
  EXPECT_EQ(hit.n_blocks, 10);
  SequenceBlocks second(&pool, &budget);
  second.share_prefix(names, 10);
  EXPECT_EQ(pool.n_used(), 2) << "both hold the same";
  second.reserve(80);
  EXPECT_TRUE(second.bounded());
  const int64_t reserved = pool.n_reserved();
  Told told;
  second.grow(48, 80, told.new_blocks, told.counts);
  EXPECT_EQ(told.new_blocks.size(), 4u) << "the two found ones, and two of its own";
  EXPECT_EQ(told.new_blocks.front(), first.table(0)[8]);
  second.settle(std::span(names).first(12), 48);
  EXPECT_EQ(pool.n_reserved(), reserved - 2) << "found blocks were never reserved";
  EXPECT_EQ(first.table(0).n_held(), 2) << "the other keeps them";
}

// Random lives of sequences over a pool: what is seen is held, and the counts add up.
TEST(SequenceBlocks, NothingLeaksAndNothingSeenIsFreed) {
  std::mt19937 rng(11);
  for (int round = 0; round < 300; ++round) {
    std::vector<plan::KvGroup> groups(rng() % 3);
    do {
      groups.push_back(rng() % 3 == 0 ? chunked(static_cast<int32_t>(1 + rng() % 40))
                                      : sliding(static_cast<int32_t>(1 + rng() % 40)));
    } while (rng() % 2 == 0);
    const auto block_size = static_cast<int32_t>(1 + rng() % 5);
    const auto chunk = static_cast<int32_t>(1 + rng() % 20);
    const KvBudget budget(groups, block_size, 2 * chunk);
    const int32_t n_goal = static_cast<int32_t>(1 + rng() % 200);
    const int64_t n_blocks = budget.most_blocks(n_goal + 50);
    BlockPool pool(n_blocks);
    const auto names = names_of(260);
    for (int life = 0; life < 3; ++life) {  // the later ones find what the first left
      const int32_t n_all = (n_goal + block_size - 1) / block_size;
      const PrefixHit hit = find_prefix(pool, budget, names, (n_goal - 1) / block_size, n_all);
      ASSERT_LE(hit.n_taken, pool.n_free()) << "one alone always fits";
      SequenceBlocks blocks(&pool, &budget);
      blocks.share_prefix(names, hit.n_blocks);
      blocks.reserve(n_goal);
      int32_t computed = hit.n_blocks * block_size;
      int32_t planned = computed;
      while (computed < n_goal + 50) {
        const int32_t goal = std::max(n_goal, computed + 1);
        for (int i = 0; i < 2 && planned < goal && planned - computed <= chunk; ++i) {
          Told span;
          planned = std::min(goal, planned + static_cast<int32_t>(1 + rng() % chunk));
          blocks.grow(planned, goal, span.new_blocks, span.counts);
          for (int32_t g = 0; g < budget.n_groups(); ++g) {
            const BlockTable& table = blocks.table(g);
            ASSERT_LE(table.first(), budget.first_block(g, computed));
            ASSERT_GE(table.size() * block_size, planned);
            for (int32_t b = table.first(); b < table.size(); ++b) {
              ASSERT_TRUE(pool.is_used(table[b]));
            }
          }
        }
        computed = planned;
        if (computed >= blocks.next_settle(true)) {
          blocks.settle(std::span(names).first(static_cast<size_t>(computed / block_size)),
                        computed);
        }
        for (int32_t g = budget.n_full(); g < budget.n_groups(); ++g) {
          ASSERT_EQ(blocks.table(g).first(), budget.first_block(g, computed));
        }
        ASSERT_EQ(pool.n_used() + pool.n_reserved(), blocks.n_held());
      }
    }
    EXPECT_EQ(pool.n_used(), 0);
    EXPECT_EQ(pool.n_reserved(), 0);
  }
}

}  // namespace
}  // namespace trireme::coordinator
