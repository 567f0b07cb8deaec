// What a coordinator does when all goes well: tokens, stops, resume, prefix cache, preemption, plan
// ahead, pipeline, money.
#include "coordinator/coordinator.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

using wire::FinishReason;

class CoordinatorTest : public ::testing::Test, public Harness {};

TEST_F(CoordinatorTest, ARequestGetsItsTokensOnePerStepAndAFinishWithItsAccounts) {
  start();
  const wire::Submit s = make(9, 10, 5);
  submit(s);
  clock.advance_ns(1000);
  run_all();
  EXPECT_EQ(tokens(9), expected_outputs(s, 64).outputs);
  ASSERT_EQ((updates[{0, 9}].size()), 5u);
  for (int32_t i = 0; i < 5; ++i) {
    EXPECT_EQ((updates[{0, 9}][static_cast<size_t>(i)].first_index), i);
  }
  EXPECT_EQ(last(9).finish, FinishReason::kLength);
  EXPECT_EQ(last(9).queue_ns, 1000);
  EXPECT_EQ(last(9).prefill_ns, 1'000'000);
  EXPECT_EQ(last(9).decode_ns, 4'000'000);
  EXPECT_EQ(last(9).cost_nano_usd, 5'000'000) << "it ran alone";
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  EXPECT_EQ((updates[{0, 9}][0].cost_nano_usd), 0) << "usage comes with the finish";
}

TEST_F(CoordinatorTest, ContinuousUsageComesWithEachUpdate) {
  start();
  wire::Submit s = make(1, 3, 3);
  s.continuous_usage = true;
  submit(s);
  run_all();
  EXPECT_EQ((updates[{0, 1}][0].cost_nano_usd), 1'000'000);
  EXPECT_EQ((updates[{0, 1}][1].cost_nano_usd), 2'000'000);
}

TEST_F(CoordinatorTest, StopTokensEndButNotBeforeMinTokens) {
  start();
  wire::Submit s = make(1, 4, 30);
  const auto free_run = expected_outputs(s, 64).outputs;
  s.stop_token_ids = {free_run[2], free_run[5]};
  submit(s);
  s.request = 2;
  s.sampling.min_tokens = 3;
  submit(s);
  run_all();
  EXPECT_EQ(tokens(1).size(), 3u);
  EXPECT_EQ(last(1).finish, FinishReason::kStop);
  EXPECT_EQ(last(1).stop_token, free_run[2]);
  EXPECT_EQ(tokens(2).size(), 6u);
  EXPECT_EQ(last(2).stop_token, free_run[5]);
}

TEST_F(CoordinatorTest, TheContextEndsARequest) {
  options.context = 12;
  start();
  submit(make(1, 9, 100));
  run_all();
  EXPECT_EQ(tokens(1).size(), 3u);
  EXPECT_EQ(last(1).finish, FinishReason::kLength);
}

TEST_F(CoordinatorTest, TheContextIsWhatThePoolCanHold) {
  start(3);
  EXPECT_EQ(coordinator->context(), 12);
  submit(make(1, 9, 100));
  run_all();
  EXPECT_EQ(tokens(1).size(), 3u);
}

TEST_F(CoordinatorTest, AResumedRequestContinuesExactlyAndItsReprefillIsNotItsCost) {
  start();
  wire::Submit s = make(1, 10, 8);
  const auto all = expected_outputs(s, 64).outputs;
  s.tokens.insert(s.tokens.end(), all.begin(), all.begin() + 5);
  s.resumed = true;
  submit(s);
  run_all();
  EXPECT_EQ(tokens(1), std::vector<int32_t>(all.begin() + 5, all.end()));
  EXPECT_EQ((updates[{0, 1}][0].first_index), 5);
  EXPECT_EQ(last(1).finish, FinishReason::kLength);
  EXPECT_EQ(last(1).cost_nano_usd, 2'000'000) << "two decode steps";
  EXPECT_EQ(coordinator->ledger().resume_nano_usd, 1'000'000);
  EXPECT_EQ(metric("trireme_prompt_tokens_total{model=\"fake\",replica=\"replica-0\",source="
                   "\"resumed\"}"),
            15);
}

TEST_F(CoordinatorTest, AResumedRequestThatWasCompleteIsFinishedAtOnce) {
  start();
  wire::Submit s = make(1, 4, 3);
  const auto all = expected_outputs(s, 64).outputs;
  s.tokens.insert(s.tokens.end(), all.begin(), all.end());
  s.resumed = true;
  submit(s);
  wire::Submit stopped = make(2, 4, 9);
  stopped.tokens.push_back(5);
  stopped.stop_token_ids = {5};
  submit(stopped);
  tick();
  EXPECT_EQ(last(1).finish, FinishReason::kLength);
  EXPECT_EQ(last(1).first_index, 3);
  EXPECT_EQ(last(2).finish, FinishReason::kStop);
  EXPECT_EQ(ranks->n_plans, 0);
}

TEST_F(CoordinatorTest, ScoringAPromptSamplesNothing) {
  options.scheduler.max_step_tokens = 4;
  start();
  wire::Submit s = make(1, 11, 0);
  s.sampling.n_prompt_logprobs = 0;
  submit(s);
  submit(make(2, 5, 0));
  run_all();
  ASSERT_EQ((updates[{0, 1}].size()), 1u);
  EXPECT_TRUE(tokens(1).empty());
  EXPECT_EQ(last(1).finish, FinishReason::kLength);
  ASSERT_EQ(last(1).prompt_logprobs.size(), 10u);
  for (int32_t p = 0; p < 10; ++p) {
    const auto& actual = last(1).prompt_logprobs[static_cast<size_t>(p)].actual;
    EXPECT_EQ(actual.token, s.tokens[static_cast<size_t>(p) + 1]);
    EXPECT_EQ(actual.logprob, prompt_logprob(s.tokens, p));
  }
  EXPECT_EQ(last(2).finish, FinishReason::kLength);
  EXPECT_EQ(ranks->n_plans, 3) << "ten positions, four at a time; request 2 needs none";
}

TEST_F(CoordinatorTest, APrefixIsFoundByTheSameSaltAloneAndNeverWhole) {
  start();
  wire::Submit s = make(1, 12, 2);
  s.cache_salt = "a";
  submit(s);
  run_all();
  EXPECT_EQ(last(1).cached_tokens, 0);
  s.request = 2;
  submit(s);
  run_all();
  EXPECT_EQ(last(2).cached_tokens, 8) << "12 tokens are 3 blocks, but the last is computed";
  s.request = 3;
  s.cache_salt = "b";
  submit(s);
  run_all();
  EXPECT_EQ(last(3).cached_tokens, 0);
  s.request = 4;
  s.cache_salt = "a";
  s.sampling.n_prompt_logprobs = 0;
  submit(s);
  run_all();
  EXPECT_EQ(last(4).cached_tokens, 0) << "prompt logprobs need every position's logits";
  EXPECT_EQ(last(4).cached_tokens + tokens(4).size(), 2u);
  EXPECT_EQ(tokens(2), tokens(1));
  EXPECT_EQ(metric("trireme_prefix_cache_hits_total{model=\"fake\",replica=\"replica-0\"}"), 8);
  EXPECT_EQ(coordinator->ledger().cached_tokens, 8);
}

TEST_F(CoordinatorTest, APreemptedRequestIsComputedAgainAtTheReplicasExpense) {
  options.scheduler.prefix_cache = false;
  start(6);
  const wire::Submit a = make(1, 8, 12);
  const wire::Submit b = make(2, 8, 12);
  submit(a);
  submit(b);
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(a, 24).outputs);
  EXPECT_EQ(tokens(2), expected_outputs(b, 24).outputs);
  EXPECT_GE(metric("trireme_preemptions_total{model=\"fake\",replica=\"replica-0\"}"), 1);
  const wire::LedgerReport ledger = coordinator->ledger();
  EXPECT_GT(ledger.recompute_nano_usd, 0);
  EXPECT_EQ(last(1).cost_nano_usd + last(2).cost_nano_usd,
            ledger.prefill_nano_usd + ledger.decode_nano_usd);
  EXPECT_EQ(ledger.prompt_tokens, 16) << "recomputed ones are not counted as prompt";
}

TEST_F(CoordinatorTest, TheNextPlanIsSentAsSoonAsAResultIsAppliedWithoutThoseThatEnded) {
  start();
  wire::Submit stops = make(1, 4, 20);
  stops.stop_token_ids = {expected_outputs(stops, 64).outputs[1]};
  submit(stops);
  submit(make(2, 5, 20));
  tick();
  step();  // both prefilled
  step();  // 1 meets its stop token: the plan ahead had it
  ASSERT_EQ(ranks->plans.back().spans.size(), 1u);
  EXPECT_EQ(ranks->plans.back().releases.size(), 1u);
  EXPECT_EQ(last(1).finish, FinishReason::kStop);
}

TEST_F(CoordinatorTest, PipelineStagesAreFilledWithAPartEach) {
  options.pp = 2;
  start(100, 2);
  for (uint64_t id = 1; id <= 4; ++id) submit(make(id, 4, 6));
  run_all();
  EXPECT_EQ(ranks->most_in_flight, 2u);
  for (uint64_t id = 1; id <= 4; ++id) {
    EXPECT_EQ(tokens(id), expected_outputs(make(id, 4, 6), 64).outputs);
  }
  // Two devices, and overlapping steps: still every nanosecond once.
  const wire::LedgerReport ledger = coordinator->ledger();
  EXPECT_EQ(ledger.total_nano_usd, (clock.now_ns() - 1) * 2);
}

TEST_F(CoordinatorTest, OneBatchPerRouterAndTick) {
  start();
  submit(make(1, 4, 3), 0);
  submit(make(2, 4, 3), 0);
  submit(make(1, 4, 3), 1);
  tick();
  n_batches = 0;
  step();
  EXPECT_EQ(n_batches, 2);
  run_all();
  EXPECT_EQ(tokens(1, 0), tokens(1, 1)) << "ids are per router";
}

TEST_F(CoordinatorTest, DrainFinishesWhatItHasAndTakesNothingNew) {
  start();
  submit(make(1, 4, 3));
  coordinator->drain();
  submit(make(2, 4, 3));
  EXPECT_FALSE(coordinator->drained());
  EXPECT_TRUE(coordinator->load().draining);
  run_all();
  EXPECT_EQ(tokens(1).size(), 3u);
  EXPECT_EQ(last(2).error->code, ErrorCode::kUnavailable);
  EXPECT_TRUE(coordinator->drained());
}

TEST_F(CoordinatorTest, LoadAndGaugesTellWhatIsThere) {
  options.scheduler.max_running = 1;
  options.vllm_metric_names = true;
  start();
  submit(make(1, 6, 3));
  submit(make(2, 7, 3));
  tick();
  const wire::Load load = coordinator->load();
  EXPECT_EQ(load.running, 1);
  EXPECT_EQ(load.waiting, 1);
  EXPECT_EQ(load.waiting_tokens, 7);
  EXPECT_EQ(load.kv_blocks_used, 2);
  EXPECT_EQ(load.kv_blocks_total, 100);
  EXPECT_EQ(metric("trireme_requests_waiting{model=\"fake\",replica=\"replica-0\"}"), 1);
  EXPECT_EQ(metric("trireme_kv_cache_usage_ratio{model=\"fake\",replica=\"replica-0\"}"), 0.02);
  EXPECT_EQ(metric("vllm:num_requests_waiting{engine=\"replica-0\",model_name=\"fake\"}"), 1);
}

TEST_F(CoordinatorTest, IdleAndStartupAreBookedUnderTheirNames) {
  options.started_ns = clock.now_ns();
  clock.advance_ns(5'000'000);
  start();
  EXPECT_EQ(coordinator->ledger().startup_nano_usd, 5'000'000);
  clock.advance_ns(2'000'000);
  tick();
  EXPECT_EQ(coordinator->ledger().idle_nano_usd, 2'000'000);
  submit(make(1, 4, 1));
  run_all();
  EXPECT_EQ(coordinator->ledger().prefill_nano_usd, 1'000'000);
  EXPECT_EQ(metric("trireme_cost_usd_total{model=\"fake\",phase=\"idle\",replica=\"replica-0\","
                   "tenant=\"none\"}"),
            0.002);
  EXPECT_EQ(metric("trireme_cost_usd_total{model=\"fake\",phase=\"prefill\",replica=\"replica-0\","
                   "tenant=\"t\"}"),
            0.001);
}

TEST_F(CoordinatorTest, StageTimesAndTheSlowestRankAreCounted) {
  start(100, 2);
  submit(make(1, 4, 1));
  tick();
  clock.advance_ns(1'000'000'000);
  step::StepTimings timings;
  timings.step = StepId(1);
  timings.timing = {.worker_rank = 0, .compute_ns = 500'000'000, .collective_ns = 250'000'000};
  ASSERT_TRUE(coordinator->on_rank_event(timings).ok());
  timings.timing = {.worker_rank = 1, .compute_ns = 600'000'000};
  ASSERT_TRUE(coordinator->on_rank_event(timings).ok());
  const std::string tail = ",replica=\"replica-0\"";
  EXPECT_EQ(metric("trireme_stage_seconds_total{model=\"fake\",rank=\"0\"" + tail +
                   ",state=\"compute\"}"),
            0.5);
  EXPECT_EQ(
      metric("trireme_stage_seconds_total{model=\"fake\",rank=\"0\"" + tail + ",state=\"idle\"}"),
      0.25);
  EXPECT_EQ(metric("trireme_slowest_rank_total{model=\"fake\",rank=\"1\"" + tail + "}"), 1);
  EXPECT_EQ(metric("trireme_slowest_rank_total{model=\"fake\",rank=\"0\"" + tail + "}"), 0);
}

TEST_F(CoordinatorTest, TheLoadOfExpertsIsCountedOverLayersAndPerLayer) {
  start(100, 2);
  step::StepTimings timings;
  timings.experts = {.first_expert = 0, .layers = {1, 3}, .rows = {6, 2, 0, 1}};
  ASSERT_TRUE(coordinator->on_rank_event(timings).ok());
  timings.timing.worker_rank = 1;
  timings.experts = {.first_expert = 2, .layers = {1, 3}, .rows = {0, 0, 3, 4}};
  ASSERT_TRUE(coordinator->on_rank_event(timings).ok());
  timings.experts = {};
  ASSERT_TRUE(coordinator->on_rank_event(timings).ok());
  const auto rows = [&](const std::string& expert) {
    return metric("trireme_expert_tokens_total{expert=\"" + expert +
                  "\",model=\"fake\",replica=\"replica-0\"}");
  };
  EXPECT_EQ(rows("0"), 6);
  EXPECT_EQ(rows("1"), 3);
  EXPECT_EQ(rows("2"), 3);
  EXPECT_EQ(rows("3"), 4);
  const auto imbalance = [&](const std::string& layer) {
    return metric("trireme_expert_load_imbalance_ratio{layer=\"" + layer +
                  "\",model=\"fake\",replica=\"replica-0\"}");
  };
  EXPECT_EQ(imbalance("1"), 3);  // 6 of 8 rows over 4 experts
  EXPECT_EQ(imbalance("3"), 2);  // 4 of 8
}

// Over the real inproc link with a rank in a thread of its own.
TEST(CoordinatorInproc, RunsOverTheInprocLink) {
  struct Sink : RouterSink {
    std::vector<int32_t> tokens;
    bool finished = false;
    void publish(RouterId, wire::TokenBatch& batch) override {
      for (const auto& update : batch.updates) {
        tokens.insert(tokens.end(), update.tokens.begin(), update.tokens.end());
        finished |= update.finish != FinishReason::kNone;
      }
    }
  } sink;
  Harness defaults;
  SystemClock clock;
  MetricsRegistry registry;
  step::InprocLinks links = step::make_inproc_links(1);
  std::vector<std::string> complaints;
  std::thread rank([&] {
    FakeRanks model(1, 4, 16, 8);
    ASSERT_TRUE(links.ranks[0]->send(step::RankReady{.worker_rank = 0, .n_kv_blocks = 50}).ok());
    while (true) {
      const Result<step::RankCommand> command = links.ranks[0]->receive();
      if (!command.ok() || std::holds_alternative<step::Shutdown>(*command)) break;
      ASSERT_TRUE(model.send(*command).ok());
      while (model.has_result()) ASSERT_TRUE(links.ranks[0]->send(model.pop_result()).ok());
    }
    complaints = model.complaints;
  });
  Coordinator coordinator(defaults.options, clock, *links.coordinator, sink, registry);
  const wire::Submit s = Harness::make(1, 20, 10);
  bool submitted = false;
  for (int i = 0; i < 10'000 && !sink.finished; ++i) {
    if (auto event = links.coordinator->receive(1'000'000)) {
      ASSERT_TRUE(coordinator.on_rank_event(std::move(*event)).ok());
    }
    if (coordinator.ready() && !submitted) coordinator.submit(RouterId(0), s);
    submitted |= coordinator.ready();
    ASSERT_TRUE(coordinator.tick(clock.now_ns()).ok());
  }
  ASSERT_TRUE(links.coordinator->send(step::Shutdown{"the test is over"}).ok());
  rank.join();
  EXPECT_EQ(sink.tokens, expected_outputs(s, 64).outputs);
  EXPECT_TRUE(complaints.empty());
}

}  // namespace
}  // namespace trireme::coordinator::testing
