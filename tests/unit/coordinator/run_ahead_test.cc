// A step sent before the one in flight has sampled: its tokens, what a stop token leaves behind,
// and who pays for that.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

using wire::FinishReason;

class RunAheadTest : public ::testing::Test, public Harness {
 protected:
  void begin(int64_t n_blocks = 100) {
    options.run_ahead = true;
    start(n_blocks);
    ranks->runs_ahead = true;
    ranks->recompute_length = options.recompute_length;
  }
  // One that stops with its `nth` output (from 0), which is no output before.
  static wire::Submit stopping_at(uint64_t id, size_t nth) {
    wire::Submit s = make(id, 5, 30);
    for (;; ++s.sampling.seed) {
      const std::vector<int32_t> outputs = expected_outputs(s, 64).outputs;
      const auto at = outputs.begin() + static_cast<ptrdiff_t>(nth);
      if (std::find(outputs.begin(), at, *at) != at) continue;
      s.stop_token_ids = {*at};
      return s;
    }
  }
  int64_t paid() const {
    int64_t sum = 0;
    for (const auto& [key, news] : updates) sum += news.back().cost_nano_usd;
    return sum;
  }
  void expect_the_ledger_to_agree() const {
    const wire::LedgerReport ledger = coordinator->ledger();
    EXPECT_EQ(paid(), ledger.prefill_nano_usd + ledger.decode_nano_usd);
  }
};

TEST_F(RunAheadTest, TheNextStepIsOutBeforeTheTokenIsKnown) {
  begin();
  const wire::Submit s = make(1, 5, 6);
  submit(s);
  tick();
  ASSERT_EQ(ranks->n_in_flight(), 2u);
  EXPECT_EQ(ranks->plans[0].spans.at(0).n_tokens, 5);
  const step::SequenceSpan& behind = ranks->plans[1].spans.at(0);
  EXPECT_EQ(behind.first_position, 5);
  EXPECT_EQ(behind.token, step::kSampledToken);
  EXPECT_TRUE(behind.sample);
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(s, 64).outputs);
  EXPECT_EQ(ranks->plans.size(), 6u) << "the last output is known to be the last: nothing is lost";
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  expect_the_ledger_to_agree();
}

TEST_F(RunAheadTest, AStopTokenIsToldAtOnceAndTheRowBehindItIsPaidByNobody) {
  begin();
  const wire::Submit s = stopping_at(1, 3);
  submit(s);
  tick();
  for (int i = 0; i < 4; ++i) step();
  EXPECT_EQ(last(1).finish, FinishReason::kStop);
  EXPECT_EQ(tokens(1), expected_outputs(s, 64).outputs);
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  ASSERT_EQ(ranks->n_in_flight(), 1u);
  const int64_t idle = coordinator->ledger().idle_nano_usd;
  step(5'000'000);
  EXPECT_EQ(coordinator->ledger().idle_nano_usd - idle, 5'000'000);
  EXPECT_EQ(updates.at({0, 1}).size(), 4u) << "nothing is said behind the finish";
  expect_the_ledger_to_agree();
}

TEST_F(RunAheadTest, ANewRequestMayHaveThePlaceOfOneWhoseRowIsStillOut) {
  options.scheduler.max_running = 1;
  begin();
  submit(stopping_at(1, 1));
  const wire::Submit next = make(2, 9, 7);
  submit(next);
  tick();
  step();
  step();
  EXPECT_EQ(last(1).finish, FinishReason::kStop);
  ASSERT_EQ(ranks->n_in_flight(), 2u) << "the unwanted row, and the new prompt";
  run_all();
  EXPECT_EQ(tokens(2), expected_outputs(next, 64).outputs);
  expect_the_ledger_to_agree();
}

TEST_F(RunAheadTest, ACancelledRequestEndsWithTheLastOfItsSteps) {
  begin();
  submit(make(1, 5, 20));
  tick();
  step();
  ASSERT_EQ(ranks->n_in_flight(), 2u);
  coordinator->cancel(RouterId(0), {1});
  step();
  EXPECT_EQ(last(1).finish, FinishReason::kNone);
  step();
  EXPECT_EQ(last(1).finish, FinishReason::kCancelled);
  EXPECT_EQ(ranks->n_in_flight(), 0u);
  expect_the_ledger_to_agree();
}

TEST_F(RunAheadTest, WithoutBlocksItWaitsForTheStepAndPreempts) {
  begin(12);
  const wire::Submit first = make(1, 14, 20);
  wire::Submit second = make(2, 14, 20);
  second.cache_salt = "its own";
  submit(first);
  submit(second);
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(first, 48).outputs);
  EXPECT_EQ(tokens(2), expected_outputs(second, 48).outputs);
  EXPECT_GE(metric("trireme_preemptions_total{model=\"fake\",replica=\"replica-0\"}"), 1);
  EXPECT_GT(ranks->n_unseen, 10);
}

// Others that go on do not keep one waiting that has to start again.
TEST_F(RunAheadTest, ASequenceThatOutgrowsItsKeysStartsAgainWhileOthersRun) {
  options.recompute_length = 10;
  begin();
  const wire::Submit other = make(1, 12, 30);
  const wire::Submit grows = make(2, 7, 9);
  submit(other);
  submit(grows);
  tick();
  while (updates[{0, 2}].empty() || last(2).finish == FinishReason::kNone) step();
  EXPECT_EQ(tokens(2), expected_outputs(grows, 64).outputs);
  EXPECT_LT(tokens(1).size(), 20u) << "it did not wait for the other's end";
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(other, 64).outputs);
}

TEST_F(RunAheadTest, OnlyASingleStageThatSamplesRunsAhead) {
  options.run_ahead = true;
  EXPECT_TRUE(validate(options).ok());
  options.pp = 2;
  EXPECT_FALSE(validate(options).ok());
}

}  // namespace
}  // namespace trireme::coordinator::testing
