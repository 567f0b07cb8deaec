// A coordinator of models whose layers slide.
#include <gtest/gtest.h>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

class WindowsTest : public Harness, public ::testing::Test {
 protected:
  void use(std::vector<plan::KvGroup> groups) { options.kv_groups = std::move(groups); }
  static plan::KvGroup sliding(int32_t span) { return {plan::AttentionKind::kSliding, span}; }
};

TEST_F(WindowsTest, ALongSequenceHoldsItsWindowAndEndsInAPoolThatCouldNotHoldItWhole) {
  use({sliding(10)});
  options.context = 100'000;
  options.scheduler.max_step_tokens = 8;
  // 9 keys and 8 in flight lie in 5 blocks of 4; a prefix hit could be of 3.
  start(8);
  EXPECT_EQ(coordinator->context(), 100'000);
  submit(make(1, 500, 1500));
  tick();
  int64_t most = 0;
  while (ranks->has_result() && !HasFatalFailure()) {
    step();
    most = std::max(most, coordinator->load().kv_blocks_used);
  }
  EXPECT_EQ(tokens(1).size(), 1500u);
  EXPECT_EQ(last(1).finish, wire::FinishReason::kLength);
  EXPECT_LE(most, 5);
  EXPECT_GE(most, 4);
  EXPECT_EQ(metric("trireme_preemptions_total{model=\"fake\",replica=\"replica-0\"}"), 0);
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
}

TEST_F(WindowsTest, APoolOfFewerBlocksIsALimitWithANumber) {
  use({sliding(10)});
  options.context = 1000;
  options.scheduler.max_step_tokens = 8;
  start(7);
  EXPECT_EQ(coordinator->context(), 28);
  submit(make(1, 40, 1));
  tick();
  ASSERT_TRUE(last(1).error.has_value());
  EXPECT_EQ(last(1).error->message,
            "a prompt of 40 tokens needs 8 KV blocks of 4 tokens, and the replica has 7");
}

TEST_F(WindowsTest, APrefixIsFoundByItsWindowAndByAllOfWhatSeesEverything) {
  use({plan::KvGroup(), sliding(6)});
  start(200);
  submit(make(1, 41, 3));
  run_all();
  submit(make(2, 41, 3));
  run_all();
  EXPECT_EQ(last(2).cached_tokens, 40);
  EXPECT_EQ(tokens(2), tokens(1));
  // A shorter prompt of the same beginning: its window left the first one's long ago.
  wire::Submit shorter = make(3, 23, 3);
  submit(shorter);
  run_all();
  EXPECT_EQ(last(3).cached_tokens, 20);
}

TEST_F(WindowsTest, ADecodeTakesABlockForEveryTable) {
  use({plan::KvGroup(), sliding(6), sliding(6)});
  start(200);
  submit(make(1, 4, 2));
  tick();
  EXPECT_EQ(coordinator->load().kv_blocks_used, 3);
  step();
  EXPECT_EQ(coordinator->load().kv_blocks_used, 6) << "position 4 begins a block in each table";
  EXPECT_EQ(ranks->plans.back().n_group_blocks, (std::vector<int32_t>{1, 1, 1}));
  step();
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
}

TEST_F(WindowsTest, OneGroupSendsWhatItAlwaysSent) {
  start(200);
  submit(make(1, 9, 2));
  tick();
  EXPECT_EQ(ranks->plans.back().spans.at(0).new_blocks.size(), 3u);
  EXPECT_TRUE(ranks->plans.back().n_group_blocks.empty());
}

TEST_F(WindowsTest, APoolNeedsABlockForEveryTable) {
  use({plan::KvGroup(), sliding(6)});
  options.scheduler.max_kv_blocks = 1;
  FakeRanks one(1, 4, 16, 8, options.kv_groups);
  Coordinator small(options, clock, one, *this, registry);
  step::RankReady ready;
  ready.n_kv_blocks = 100;
  const Status status = small.on_rank_event(ready);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message,
            "1 KV blocks are not one for each of the 2 block tables of a sequence");
}

TEST(CoordinatorOptionsTest, GroupsAreChecked) {
  CoordinatorOptions options = Harness().options;
  EXPECT_TRUE(validate(options).ok());
  options.kv_groups = {{plan::AttentionKind::kSliding, 4}, plan::KvGroup()};
  EXPECT_FALSE(validate(options).ok()) << "what sees everything comes first";
  options.kv_groups = {{plan::AttentionKind::kSliding, 0}};
  EXPECT_FALSE(validate(options).ok());
  options.kv_groups.clear();
  EXPECT_FALSE(validate(options).ok());
  options.kv_groups.assign(9, plan::KvGroup());
  EXPECT_FALSE(validate(options).ok());
}

}  // namespace
}  // namespace trireme::coordinator::testing
