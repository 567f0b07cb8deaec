#include <gtest/gtest.h>

#include <random>
#include <set>

#include "coordinator/kv/block_hash.h"
#include "coordinator/kv/block_pool.h"

namespace trireme::coordinator {
namespace {

std::array<uint8_t, 32> counting_key() {
  std::array<uint8_t, 32> key{};
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  return key;
}

std::string hex(const BlockHash& hash) {
  std::string text;
  for (const uint8_t byte : hash.bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

BlockHash name(uint8_t n) {
  BlockHash hash;
  hash.bytes[0] = n;
  return hash;
}

TEST(BlockHasher, GivesWhatHmacAndSha256Give) {  // made with Python's hmac and hashlib
  const BlockHasher hasher(counting_key());
  const BlockHash root = hasher.root("tenant-a");
  EXPECT_EQ(hex(root), "7dd5d4d2dbd0fae53ca3a10b15835704c2f9435999af5e5d06a397ade23766dd");
  const std::vector<int32_t> tokens = {1, 2, 3, 100000};
  EXPECT_EQ(hex(hasher.next(root, tokens)),
            "77535afdc9852e3e417149405c873641b2585977501f2b2881cf1f791d7812dd");
}

TEST(BlockHasher, KeySaltTokensAndParentAllMatter) {
  const BlockHasher hasher(counting_key());
  const std::vector<int32_t> tokens = {1, 2};
  const std::vector<int32_t> others = {2, 1};
  const BlockHash root = hasher.root("a");
  std::set<std::string> all = {hex(root), hex(hasher.root("b")), hex(hasher.root("")),
                               hex(BlockHasher().root("a")), hex(BlockHasher().root("a"))};
  EXPECT_EQ(all.size(), 5u) << "two hashers draw two keys";
  all.insert(hex(hasher.next(root, tokens)));
  all.insert(hex(hasher.next(root, others)));
  all.insert(hex(hasher.next(hasher.root("b"), tokens)));
  EXPECT_EQ(all.size(), 8u);
}

TEST(BlockPool, HandsOutEveryBlockOnceThenNone) {
  BlockPool pool(3);
  BlockTable table(&pool);
  std::set<int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.insert(table.append_new().value());
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.n_free(), 0);
  EXPECT_DEATH(pool.allocate(), "no free block of 3");
}

TEST(BlockPool, ANamedBlockIsFoundAfterItsHolderIsGoneAndSharedAgain) {
  BlockPool pool(2);
  BlockId id;
  {
    BlockTable table(&pool);
    id = table.append_new();
    pool.publish(id, name(1));
    EXPECT_EQ(pool.n_used(), 1);
  }
  EXPECT_EQ(pool.n_used(), 0);
  EXPECT_EQ(pool.n_cached(), 1);
  EXPECT_EQ(pool.find(name(1)), id);
  BlockTable a(&pool);
  BlockTable b(&pool);
  a.append_found(id);
  b.append_found(id);
  EXPECT_EQ(pool.n_used(), 1);
  EXPECT_EQ(pool.n_cached(), 0);
  a.clear();
  EXPECT_TRUE(pool.is_used(id));
  b.clear();
  EXPECT_FALSE(pool.is_used(id));
}

TEST(BlockPool, EvictsTheLeastRecentlyReleasedAndOfOneTableTheTailFirst) {
  BlockPool pool(3);
  {
    BlockTable table(&pool);
    for (uint8_t i = 0; i < 3; ++i) pool.publish(table.append_new(), name(i));
  }
  BlockTable other(&pool);
  other.append_new();
  EXPECT_FALSE(pool.find(name(2)).has_value()) << "the tail goes first";
  EXPECT_TRUE(pool.find(name(1)).has_value());
  EXPECT_TRUE(pool.find(name(0)).has_value());
  {
    BlockTable touch(&pool);
    touch.append_found(*pool.find(name(1)));
  }
  other.append_new();
  EXPECT_FALSE(pool.find(name(0)).has_value()) << "block 1 was used since";
  EXPECT_TRUE(pool.find(name(1)).has_value());
}

TEST(BlockPool, TheSecondBlockOfANameStaysNameless) {
  BlockPool pool(2);
  BlockTable table(&pool);
  const BlockId first = table.append_new();
  const BlockId second = table.append_new();
  pool.publish(first, name(1));
  pool.publish(second, name(1));
  EXPECT_EQ(pool.find(name(1)), first);
  EXPECT_DEATH(pool.acquire(second), "has no name");
}

TEST(BlockPoolDeathTest, ABlockReleasedTwiceIsAnError) {
  BlockPool pool(1);
  const BlockId id = pool.allocate();
  pool.release(id);
  EXPECT_DEATH(pool.release(id), "released twice");
}

TEST(BlockTable, AMoveLeavesNothingBehind) {
  BlockPool pool(2);
  BlockTable a(&pool);
  a.append_new();
  BlockTable b(std::move(a));
  EXPECT_EQ(a.size(), 0);  // NOLINT(bugprone-use-after-move): that is what is tested
  a = std::move(b);
  EXPECT_EQ(a.size(), 1);
  EXPECT_EQ(pool.n_used(), 1);
  a = BlockTable(&pool);
  EXPECT_EQ(pool.n_used(), 0);
}

// Random tables over a pool: the counts are those of a plain model, whatever the order.
TEST(BlockPool, CountsAgreeWithAModel) {
  std::mt19937 rng(7);
  BlockPool pool(20);
  std::vector<BlockTable> tables;
  uint8_t next_name = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto dice = rng() % 4;
    if (dice == 0) tables.emplace_back(&pool);
    if (!tables.empty()) {
      BlockTable& table = tables[rng() % tables.size()];
      if (dice == 1 && pool.n_free() > 0) {
        const BlockId id = table.append_new();
        if (rng() % 2 == 0) pool.publish(id, name(++next_name));
      }
      if (dice == 2) {
        if (const auto found = pool.find(name(static_cast<uint8_t>(rng() % 256)))) {
          table.append_found(*found);
        }
      }
      if (dice == 3 && rng() % 3 == 0) {
        tables.erase(tables.begin() + static_cast<ptrdiff_t>(rng() % tables.size()));
      }
    }
    std::set<int32_t> held;
    for (const BlockTable& table : tables) {
      for (const BlockId id : table.blocks()) held.insert(id.value());
    }
    ASSERT_EQ(pool.n_used(), static_cast<int64_t>(held.size()));
    ASSERT_EQ(pool.n_free(), 20 - pool.n_used());
    ASSERT_LE(pool.n_cached(), pool.n_free());
  }
  tables.clear();
  EXPECT_EQ(pool.n_used(), 0);
}

}  // namespace
}  // namespace trireme::coordinator
