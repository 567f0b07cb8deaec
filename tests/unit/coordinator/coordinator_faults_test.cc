// What a coordinator does when things go wrong: bad requests, lost routers, deadlines, ranks that
// fail, lie or stay silent.
#include <gtest/gtest.h>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

using wire::FinishReason;

class CoordinatorFaults : public ::testing::Test, public Harness {
 protected:
  Error refused(uint64_t id) {
    tick();
    const wire::TokenUpdate& update = last(id);
    EXPECT_EQ(update.finish, FinishReason::kError);
    EXPECT_TRUE(update.error.has_value());
    return update.error.value_or(Error{});
  }
};

TEST_F(CoordinatorFaults, BadRequestsAreRefusedWithASentence) {
  start(3);
  submit(make(1, 13, 5));
  EXPECT_EQ(refused(1).message,
            "a prompt of 13 tokens needs 4 KV blocks of 4 tokens, and the replica has 3");
  submit(make(2, 64, 5));
  EXPECT_EQ(refused(2).message,
            "a prompt of 64 tokens does not fit the model's context of 64 tokens");
  wire::Submit s = make(3, 4, 5);
  s.tokens[0] = kVocab;
  submit(s);
  EXPECT_EQ(refused(3).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(coordinator->load().waiting, 0);
  EXPECT_EQ(metric("trireme_requests_total{model=\"fake\",outcome=\"invalid_argument\",replica="
                   "\"replica-0\"}"),
            3);
}

TEST_F(CoordinatorFaults, BeforeTheRanksAreReadyRequestsAreRefused) {
  ranks = std::make_unique<FakeRanks>(1, 4, 16, 8);
  coordinator = std::make_unique<Coordinator>(options, clock, *ranks, *this, registry);
  submit(make(1, 4, 5));
  EXPECT_EQ(refused(1).code, ErrorCode::kUnavailable);
}

TEST_F(CoordinatorFaults, AFullQueueRefusesAndChangesNothing) {
  options.scheduler.max_running = 1;
  options.scheduler.max_waiting = 2;
  start();
  submit(make(1, 4, 5));
  tick();
  for (uint64_t id = 2; id <= 4; ++id) submit(make(id, 4, 5));
  EXPECT_EQ(refused(4).code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(coordinator->load().waiting, 2);
  run_all();
  EXPECT_EQ(tokens(3).size(), 5u);
}

TEST_F(CoordinatorFaults, ASecondSubmitOfALiveIdIsIgnored) {
  start();
  submit(make(1, 4, 5));
  submit(make(1, 9, 5));
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(make(1, 4, 5), 64).outputs);
}

TEST_F(CoordinatorFaults, ACancelledRequestLeavesAtOnceAndItsBlocksWhenItsStepIsDone) {
  start();
  submit(make(1, 8, 50));
  submit(make(2, 8, 50));
  tick();
  submit(make(3, 8, 50));
  coordinator->cancel(RouterId(0), {3});
  coordinator->cancel(RouterId(0), {99});
  tick();
  EXPECT_EQ(last(3).finish, FinishReason::kCancelled) << "it only waited";
  coordinator->cancel(RouterId(0), {1});
  tick();
  EXPECT_TRUE((updates[{0, 1}].empty())) << "its step is in flight";
  EXPECT_EQ(coordinator->load().kv_blocks_used, 4);
  step();
  EXPECT_EQ(last(1).finish, FinishReason::kCancelled);
  EXPECT_TRUE(tokens(1).empty());
  EXPECT_GT(last(1).cost_nano_usd, 0) << "with the cost of the step it was in";
  EXPECT_EQ(coordinator->load().running, 1);
  ASSERT_EQ(ranks->plans.back().spans.size(), 1u);
}

TEST_F(CoordinatorFaults, ALostRouterTakesItsRequestsWithIt) {
  start();
  submit(make(1, 8, 10), 0);
  submit(make(1, 8, 10), 1);
  tick();
  submit(make(2, 8, 10), 0);
  coordinator->router_lost(RouterId(0));
  run_all();
  EXPECT_TRUE((updates[{0, 1}].empty()));
  EXPECT_TRUE((updates[{0, 2}].empty()));
  EXPECT_EQ(tokens(1, 1).size(), 10u);
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
}

TEST_F(CoordinatorFaults, ACancelledRequestOfALostRouterIsToldToNobody) {
  start();
  submit(make(1, 8, 10));
  tick();
  coordinator->cancel(RouterId(0), {1});
  coordinator->router_lost(RouterId(0));
  run_all();
  EXPECT_TRUE(updates.empty() || updates.begin()->second.empty());
  EXPECT_EQ(coordinator->load().running, 0);
}

TEST_F(CoordinatorFaults, ARouterThatStartedAgainLosesItsOldRequests) {
  start();
  coordinator->router_epoch(RouterId(0), 5);
  submit(make(1, 8, 10));
  coordinator->router_epoch(RouterId(0), 5);
  tick();
  step();
  EXPECT_EQ(tokens(1).size(), 1u) << "the same epoch changes nothing";
  coordinator->router_epoch(RouterId(0), 6);
  submit(make(1, 3, 2));
  run_all();
  const auto want = expected_outputs(make(1, 3, 2), 64).outputs;
  auto got = tokens(1);
  got.erase(got.begin());
  EXPECT_EQ(got, want) << "the id may be used again";
}

TEST_F(CoordinatorFaults, ARequestsDeadlineEndsItWhetherItWaitsOrRuns) {
  options.scheduler.max_running = 1;
  start();
  wire::Submit s = make(1, 8, 50);
  s.deadline_unix_ns = clock.unix_ns() + 10'000'000;
  submit(s);
  s.request = 2;
  submit(s);
  s.request = 3;
  s.deadline_unix_ns = clock.unix_ns() - 1;
  submit(s);
  EXPECT_EQ(refused(3).code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(coordinator->next_tick_ns(), clock.now_ns() + 10'000'000);
  clock.advance_ns(10'000'000);
  tick();
  EXPECT_EQ(last(2).error->code, ErrorCode::kDeadlineExceeded);
  step();
  EXPECT_EQ(last(1).error->code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  EXPECT_EQ(coordinator->next_tick_ns(), INT64_MAX);
}

TEST_F(CoordinatorFaults, ALateStepEndsTheReplicaAndNamesTheSilentRanks) {
  options.scheduler.step_deadline_ns = 8'000'000'000;
  start(100, 3);
  submit(make(1, 4, 5));
  tick();
  step::StepTimings timings;
  timings.step = StepId(1);
  timings.timing.worker_rank = 1;
  ASSERT_TRUE(coordinator->on_rank_event(timings).ok());
  EXPECT_EQ(coordinator->next_tick_ns(), clock.now_ns() + 9'000'000'000) << "an eighth of grace";
  clock.advance_ns(8'999'999'999);
  tick();
  clock.advance_ns(1);
  const Status status = coordinator->tick(clock.now_ns());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(status.error().message,
            "step 1 with 1 sequences is not finished after 9.0 s: no word of it from ranks 0, 2");
  EXPECT_FALSE(coordinator->tick(clock.now_ns()).ok()) << "and stays so";
}

TEST_F(CoordinatorFaults, ARanksFailureNamesRankStepAndOperation) {
  start(100, 2);
  submit(make(1, 4, 5));
  tick();
  const Status status = coordinator->on_rank_event(
      step::RankFailure{1, StepId(1), "all_reduce", "rank 0 did not arrive within 5 s"});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message,
            "rank 1 failed in step 1 at all_reduce: rank 0 did not arrive within 5 s");
  EXPECT_FALSE(coordinator->tick(clock.now_ns()).ok());
  EXPECT_EQ(metric("trireme_step_deadline_exceeded_total{model=\"fake\",op=\"all_reduce\",rank="
                   "\"1\",replica=\"replica-0\"}"),
            1);
}

TEST_F(CoordinatorFaults, ResultsThatDoNotFitTheirPlanEndTheReplica) {
  const auto outcome = [&](auto&& change) {
    Harness h;
    h.start();
    h.submit(make(1, 4, 5));
    h.submit(make(2, 4, 5));
    h.tick();
    step::StepResult result = h.ranks->pop_result();
    change(result);
    const Status status = h.coordinator->on_rank_event(result);
    return status.ok() ? std::string("believed") : status.error().message;
  };
  using R = step::StepResult;
  EXPECT_EQ(outcome([](R&) {}), "believed");
  EXPECT_NE(outcome([](R& r) { r.header.step = StepId(2); }).find("a result came for step 2"),
            std::string::npos);
  EXPECT_NE(outcome([](R& r) { r.header.epoch = 1; }).find("epoch 1"), std::string::npos);
  EXPECT_NE(outcome([](R& r) { ++r.header.shape_hash; }).find("a result came"), std::string::npos);
  EXPECT_EQ(outcome([](R& r) { r.outputs.pop_back(); }),
            "the result of step 1 is wrong: outputs are missing");
  EXPECT_EQ(outcome([](R& r) { r.outputs.push_back(r.outputs[0]); }),
            "the result of step 1 is wrong: there are too many outputs");
  EXPECT_EQ(outcome([](R& r) { std::swap(r.outputs[0], r.outputs[1]); }),
            "the result of step 1 is wrong: outputs are not in the plan's order");
  EXPECT_EQ(outcome([](R& r) { r.outputs[0].token = kVocab; }),
            "the result of step 1 is wrong: token 97 is outside the vocabulary");
}

TEST_F(CoordinatorFaults, AResultThatNobodyAskedForEndsTheReplica) {
  start();
  EXPECT_FALSE(coordinator->on_rank_event(step::StepResult{}).ok());
}

TEST_F(CoordinatorFaults, ARankWithoutMemoryForKvIsNamed) {
  ranks = std::make_unique<FakeRanks>(2, 4, 16, 8);
  coordinator = std::make_unique<Coordinator>(options, clock, *ranks, *this, registry);
  ASSERT_TRUE(
      coordinator->on_rank_event(step::RankReady{.worker_rank = 1, .weight_bytes = 9}).ok() ||
      true);
  const Status status =
      coordinator->on_rank_event(step::RankReady{.worker_rank = 0, .n_kv_blocks = 5});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message,
            "rank 1 has no memory for KV blocks after its weights of 9 bytes");
}

TEST_F(CoordinatorFaults, WordFromARankThatDoesNotExistEndsTheReplica) {
  start();
  EXPECT_FALSE(coordinator->on_rank_event(step::RankReady{.worker_rank = 1}).ok());
}

TEST_F(CoordinatorFaults, AGoneLinkEndsTheReplica) {
  start();
  ranks->refuse_sends = true;
  submit(make(1, 4, 5));
  const Status status = coordinator->tick(clock.now_ns());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "rank 1 is gone");
}

TEST(CoordinatorOptionsTest, WhatCannotBeIsNamed) {
  CoordinatorOptions options = Harness().options;
  EXPECT_TRUE(validate(options).ok());
  options.scheduler.max_step_tokens = 0;
  EXPECT_EQ(validate(options).error().message,
            "scheduler.max_step_tokens is 0, and must be between 1 and 1048576");
}

}  // namespace
}  // namespace trireme::coordinator::testing
