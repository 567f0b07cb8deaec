// The balancer's score and the prefix index.
#include "router/balance/balance.h"

#include <gtest/gtest.h>

#include <set>

#include "router/balance/prefix_index.h"

namespace trireme::router {
namespace {

ReplicaSnapshot usable(int64_t load, int64_t matched) {
  return {.usable = true, .load = load, .matched_tokens = matched};
}

TEST(Balance, ScoreIsTheFormula) {
  Random random(1);
  const auto result = choose_replica({usable(4, 50), usable(0, 0)}, 100, 0.5, random);
  EXPECT_DOUBLE_EQ(result.scores[0], 0.5 - 0.5 * (4 - 2) / 2.0);
  EXPECT_DOUBLE_EQ(result.scores[1], 0.0 - 0.5 * (0 - 2) / 2.0);
  EXPECT_EQ(result.chosen, 1);
}

TEST(Balance, PrefixWinsUntilLoadOutweighsIt) {
  Random random(1);
  EXPECT_EQ(choose_replica({usable(2, 100), usable(2, 0)}, 100, 0.5, random).chosen, 0);
  EXPECT_EQ(choose_replica({usable(90, 100), usable(0, 0)}, 100, 2.0, random).chosen, 1);
}

TEST(Balance, UnusableIsNoCandidate) {
  Random random(1);
  ReplicaSnapshot gone = usable(0, 100);
  gone.usable = false;
  EXPECT_EQ(choose_replica({gone, usable(50, 0)}, 100, 0.5, random).chosen, 1);
  EXPECT_EQ(choose_replica({gone}, 100, 0.5, random).chosen, -1);
  EXPECT_EQ(choose_replica({}, 100, 0.5, random).chosen, -1);
}

TEST(Balance, EqualsShareEvenlyAndReproducibly) {
  Random random(7);
  std::vector<int> counts(3, 0);
  std::vector<int> first;
  for (int i = 0; i < 3000; ++i) {
    const int chosen =
        choose_replica({usable(1, 0), usable(1, 0), usable(1, 0)}, 10, 0.5, random).chosen;
    ++counts[static_cast<size_t>(chosen)];
    if (i < 20) first.push_back(chosen);
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
  Random again(7);
  for (const int chosen : first) {
    EXPECT_EQ(choose_replica({usable(1, 0), usable(1, 0), usable(1, 0)}, 10, 0.5, again).chosen,
              chosen);
  }
}

TEST(PrefixIndex, MatchesTheLongestChain) {
  const std::vector<int32_t> a = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int32_t> b = {1, 2, 3, 4, 9, 9, 7, 8};
  const auto hashes_a = block_hashes(a, 2, "salt");
  ASSERT_EQ(hashes_a.size(), 4U) << "the last token fills no block";
  PrefixIndex index(100);
  index.insert(hashes_a);
  EXPECT_EQ(index.n_matched(hashes_a), 4);
  EXPECT_EQ(index.n_matched(block_hashes(b, 2, "salt")), 2)
      << "equal blocks behind a difference do not match";
  EXPECT_EQ(index.n_matched(block_hashes(a, 2, "other")), 0)
      << "another tenant's prefix is another prefix";
}

TEST(PrefixIndex, IsBoundedAndKeepsHeads) {
  PrefixIndex index(8);
  std::vector<int32_t> hot = {1, 1, 1, 1};
  const auto hot_hashes = block_hashes(hot, 1, "");
  for (int32_t i = 0; i < 100; ++i) {
    index.insert(hot_hashes);
    index.insert(block_hashes(std::vector<int32_t>{1000 + i, 5, 5}, 1, ""));
    ASSERT_LE(index.size(), 8U);
  }
  EXPECT_EQ(index.n_matched(hot_hashes), 4);
  // A chain that is longer than the index keeps its head.
  std::vector<int32_t> chain(20);
  for (int32_t i = 0; i < 20; ++i) chain[static_cast<size_t>(i)] = 50 + i;
  index.insert(block_hashes(chain, 1, ""));
  EXPECT_EQ(index.n_matched(block_hashes(chain, 1, "")), 8);
}

}  // namespace
}  // namespace trireme::router
