// Chunks of one prompt in several unfinished steps: tokens, cancellation, prompt log-probabilities,
// preemption. And tenants that are served by weight.
#include <gtest/gtest.h>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

using wire::FinishReason;

class PipelineTest : public ::testing::Test, public Harness {
 protected:
  void start_stages(int pp, int64_t n_blocks = 100) {
    options.pp = pp;
    options.scheduler.max_step_tokens = 8;
    start(n_blocks, pp);
  }
};

TEST_F(PipelineTest, ChunksOfOnePromptFillAllStagesAndTheTokensAreTheSame) {
  for (const int pp : {1, 2, 4}) {
    start_stages(pp);
    const wire::Submit s = make(static_cast<uint64_t>(pp), 45, 7);
    submit(s);
    tick();
    EXPECT_EQ(ranks->n_in_flight(), static_cast<size_t>(pp));
    EXPECT_EQ(ranks->most_chunks_in_flight, pp);
    for (int i = 0; i < pp; ++i) {
      const step::SequenceSpan& span = ranks->plans[static_cast<size_t>(i)].spans.at(0);
      EXPECT_EQ(span.first_position, 8 * i);
      EXPECT_FALSE(span.sample);
    }
    run_all();
    EXPECT_EQ(tokens(s.request), expected_outputs(s, 64).outputs);
    EXPECT_EQ(ranks->most_in_flight, static_cast<size_t>(pp));
    EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  }
}

TEST_F(PipelineTest, NothingIsPlannedBehindASampleThatIsAwaited) {
  start_stages(4);
  submit(make(1, 10, 5));
  tick();
  EXPECT_EQ(ranks->n_in_flight(), 2u) << "two chunks; the second samples";
  step();
  EXPECT_EQ(ranks->n_in_flight(), 1u);
  step();
  EXPECT_EQ(ranks->n_in_flight(), 1u) << "a decode";
}

TEST_F(PipelineTest, ACancelledPromptEndsWithTheLastOfItsChunks) {
  start_stages(4);
  submit(make(1, 40, 5));
  tick();
  ASSERT_EQ(ranks->n_in_flight(), 4u);
  step();
  coordinator->cancel(RouterId(0), {1});
  for (int i = 0; i < 3; ++i) {
    tick();
    EXPECT_TRUE(updates.empty()) << "its cost is not complete yet";
    EXPECT_GT(coordinator->load().kv_blocks_used, 0);
    step();
  }
  // The chunk that was planned when the first result came.
  run_all();
  ASSERT_EQ((updates[{0, 1}].size()), 1u);
  EXPECT_EQ(last(1).finish, FinishReason::kCancelled);
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  const wire::LedgerReport ledger = coordinator->ledger();
  EXPECT_EQ(last(1).cost_nano_usd, ledger.prefill_nano_usd);
}

TEST_F(PipelineTest, PromptLogprobsOfOverlappingChunksHaveNoGap) {
  start_stages(4);
  wire::Submit s = make(1, 41, 2);
  s.sampling.n_prompt_logprobs = 0;
  submit(s);
  run_all();
  const auto& positions = updates[{0, 1}].front().prompt_logprobs;
  ASSERT_EQ(positions.size(), 40u);
  for (int32_t p = 0; p < 40; ++p) {
    EXPECT_EQ(positions[static_cast<size_t>(p)].actual.logprob, prompt_logprob(s.tokens, p));
  }
}

TEST_F(PipelineTest, APrefillUnderWayIsPreemptedForABetterPriorityOnceItsChunksAreDone) {
  start_stages(2, 13);
  wire::Submit slow = make(1, 44, 4);
  slow.priority = 5;
  submit(slow);
  tick();
  ASSERT_EQ(ranks->n_in_flight(), 2u);
  wire::Submit urgent = make(2, 20, 3);
  urgent.cache_salt = "its own";  // else it would find its prompt in the other's blocks
  submit(urgent);
  tick();
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(slow, 52).outputs);
  EXPECT_EQ(tokens(2), expected_outputs(urgent, 52).outputs);
  EXPECT_EQ(metric("trireme_preemptions_total{model=\"fake\",replica=\"replica-0\"}"), 1);
  // It had two chunks when the urgent one came, and got no third before it was preempted.
  EXPECT_EQ(ranks->plans[2].starts.size(), 1u);
}

TEST_F(PipelineTest, BusyTenantsAreServedByTheirWeights) {
  options.tenants = {{.name = "three", .weight = 3}, {.name = "one", .weight = 1}};
  options.scheduler.max_running = 2;
  start();
  for (uint64_t i = 0; i < 40; ++i) {
    for (const uint64_t tenant : {0, 1}) {
      wire::Submit s = make(i * 2 + tenant, 8, 4);
      s.tenant = tenant == 0 ? "three" : "one";
      s.cache_salt = std::to_string(i * 2 + tenant);  // no prefix is shared
      submit(s);
    }
  }
  tick();
  int n_finished[2] = {0, 0};
  while (n_finished[0] + n_finished[1] < 40) {
    step();
    n_finished[0] = n_finished[1] = 0;
    for (const auto& [key, news] : updates) {
      if (news.back().finish != FinishReason::kNone) ++n_finished[key.second % 2];
    }
  }
  EXPECT_NEAR(n_finished[0], 30, 2);
  EXPECT_NEAR(n_finished[1], 10, 2);
  run_all();
}

}  // namespace
}  // namespace trireme::coordinator::testing
