// The warm-up step between the last rank that is ready and a replica that is.
#include <gtest/gtest.h>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

class StartupTest : public ::testing::Test, public Harness {
 protected:
  void start_cold(int n_ranks = 2) {
    options.warm_up = true;
    for (int rank = 0; rank < n_ranks; ++rank) {
      if (rank == 0) start_ranks(n_ranks);
      const Status status =
          coordinator->on_rank_event(step::RankReady{.worker_rank = rank,
                                                     .n_kv_blocks = 100,
                                                     .load_ns = 3'000'000'000,
                                                     .startup_comm_ns = 500'000'000});
      ASSERT_TRUE(status.ok()) << status.error().message;
    }
  }
  double phase(const std::string& name) {
    return metric("trireme_startup_seconds{model=\"fake\",phase=\"" + name +
                  "\",replica=\"replica-0\"}");
  }

 private:
  void start_ranks(int n_ranks) {
    ranks = std::make_unique<FakeRanks>(n_ranks, options.scheduler.block_size,
                                        options.scheduler.max_step_tokens,
                                        options.scheduler.max_running);
    ranks->keep_plans = true;
    coordinator = std::make_unique<Coordinator>(options, clock, *ranks, *this, registry);
  }
};

TEST_F(StartupTest, AReplicaIsReadyOnceItHasProducedAToken) {
  start_cold();
  tick();
  EXPECT_FALSE(coordinator->ready());
  ASSERT_EQ(ranks->plans.size(), 1u);
  ASSERT_EQ(ranks->plans[0].spans.size(), 1u);
  EXPECT_TRUE(ranks->plans[0].spans[0].sample);
  submit(make(1, 4, 3));
  tick();
  ASSERT_TRUE(last(1).error.has_value());
  EXPECT_EQ(last(1).error->code, ErrorCode::kUnavailable);

  clock.advance_ns(2'000'000'000);
  ASSERT_TRUE(coordinator->on_rank_event(ranks->pop_result()).ok());
  EXPECT_TRUE(coordinator->ready());
  tick();
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  EXPECT_EQ(coordinator->load().running, 0);

  submit(make(2, 20, 5));
  run_all();
  EXPECT_EQ(tokens(2), expected_outputs(make(2, 20, 5), 64).outputs);
  EXPECT_EQ(ranks->plans[1].releases.size(), 1u) << "the ranks forget the made-up sequence";
}

TEST_F(StartupTest, EachPhaseHasItsSecondsAndTheLedgerCallsAllOfItStartup) {
  start_cold();
  clock.advance_ns(2'000'000'000);
  ASSERT_TRUE(coordinator->on_rank_event(ranks->pop_result()).ok());
  EXPECT_EQ(phase("weights"), 3);
  EXPECT_EQ(phase("comm"), 0.5);
  EXPECT_EQ(phase("graphs"), 0);
  EXPECT_EQ(phase("warmup"), 2);
  const wire::LedgerReport ledger = coordinator->ledger();
  EXPECT_EQ(ledger.startup_nano_usd, int64_t{2} * 2'000'000'000);
  EXPECT_EQ(ledger.startup_nano_usd, ledger.total_nano_usd);
  EXPECT_EQ(ledger.generated_tokens, 0);
}

TEST_F(StartupTest, AWarmUpThatNeverEndsIsLateLikeAnyStep) {
  start_cold();
  tick();
  EXPECT_LT(coordinator->next_tick_ns(), INT64_MAX);
  clock.advance_ns(coordinator->next_tick_ns() - clock.now_ns());
  const Status status = coordinator->tick(clock.now_ns());
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("step 1 with 1 sequences is not finished"),
            std::string::npos)
      << status.error().message;
}

TEST_F(StartupTest, AWarmUpResultThatDoesNotFitEndsTheReplica) {
  start_cold();
  step::StepResult result = ranks->pop_result();
  result.outputs[0].token = kVocab;
  EXPECT_FALSE(coordinator->on_rank_event(result).ok());
  EXPECT_FALSE(coordinator->ready());
}

}  // namespace
}  // namespace trireme::coordinator::testing
