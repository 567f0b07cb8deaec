#include "base/small_vector.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace trireme {
namespace {

using Ids = SmallVector<int32_t, 3>;

std::vector<int32_t> all(const Ids& ids) { return {ids.begin(), ids.end()}; }

TEST(SmallVector, HoldsWhatItIsGiven) {
  const Ids ids = {1, 2, 3};
  EXPECT_EQ(all(ids), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(ids.back(), 3);
  EXPECT_TRUE(Ids().empty());
  EXPECT_EQ(std::span<const int32_t>(ids).size(), 3u);
  const std::vector<int32_t> many = {1, 2, 3, 4, 5};
  EXPECT_EQ(all(Ids(many.begin(), many.end())), many);
  Ids given;
  given = many;
  EXPECT_EQ(all(given), many);
  given.assign(4, 9);
  EXPECT_EQ(all(given), (std::vector<int32_t>{9, 9, 9, 9}));
  EXPECT_EQ(Ids({1, 2}), Ids({1, 2}));
  EXPECT_NE(Ids({1, 2}), Ids({1, 2, 3}));
}

TEST(SmallVector, MovesLeaveNothingBehind) {
  for (const size_t n : {0u, 2u, 3u, 4u, 100u}) {
    Ids a;
    for (size_t i = 0; i < n; ++i) a.push_back(static_cast<int32_t>(i));
    const std::vector<int32_t> want = all(a);
    Ids b = std::move(a);
    EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): it is what is tested
    EXPECT_EQ(all(b), want);
    a.push_back(7);
    EXPECT_EQ(all(a), (std::vector<int32_t>{7}));
    a = std::move(b);
    EXPECT_EQ(all(a), want);
  }
}

// Random operations on several at once, against std::vector.
TEST(SmallVector, DoesWhatAVectorDoes) {
  std::mt19937 random(3);
  std::vector<Ids> ids(4);
  std::vector<std::vector<int32_t>> want(4);
  for (int i = 0; i < 20'000; ++i) {
    const size_t a = random() % 4;
    const size_t b = random() % 4;
    const auto value = static_cast<int32_t>(random());
    switch (random() % 7) {
      case 0:
        ids[a] = ids[b];
        want[a] = want[b];
        break;
      case 1:
        std::swap(ids[a], ids[b]);
        std::swap(want[a], want[b]);
        break;
      case 2:
        ids[a].clear();
        want[a].clear();
        break;
      case 3: {
        const size_t n = random() % 9;
        ids[a].resize(n);
        want[a].resize(n);
        break;
      }
      case 4:
        ids[a] = Ids(ids[b]);
        want[a] = std::vector<int32_t>(want[b]);
        break;
      default:
        ids[a].push_back(value);
        want[a].push_back(value);
    }
    ASSERT_EQ(all(ids[a]), want[a]);
    ASSERT_EQ(ids[a].size(), want[a].size());
    ASSERT_EQ(ids[a] == ids[b], want[a] == want[b]);
  }
}

}  // namespace
}  // namespace trireme
