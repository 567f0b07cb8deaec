#include "coordinator/schedule/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "coordinator/ledger/ledger.h"
#include "coordinator/schedule/waiting.h"

namespace trireme::coordinator {
namespace {

// A snapshot that owns its vectors; sequences are named by their slot.
struct World {
  std::vector<RunningSequence> running;
  std::vector<WaitingCandidate> waiting;
  std::vector<TenantShare> tenants = std::vector<TenantShare>(4);
  SchedulerConfig config;
  Snapshot s;

  World() {
    config.block_size = 4;
    config.max_step_tokens = 16;
    config.max_running = 8;
    s.n_blocks = 100;
    s.n_free_blocks = 100;
  }
  RunningSequence& run(uint32_t slot, int32_t n_computed, int32_t n_goal) {
    RunningSequence r;
    r.slot = slot;
    r.sequence = SequenceId(slot);
    r.arrival = slot;
    r.n_computed = r.n_planned = n_computed;
    r.n_goal = n_goal;
    r.n_limit = 1000;
    r.n_blocks = blocks_for(n_goal == n_computed + 1 ? n_computed : n_goal, config.block_size);
    r.n_held = r.n_blocks * s.n_groups;
    running.push_back(r);
    return running.back();
  }
  // Its next `n_tokens` positions are computed by an unfinished step.
  static void fly(RunningSequence& r, uint64_t step, int32_t n_tokens) {
    r.n_planned += n_tokens;
    r.last_step = step;
    ++r.n_in_flight;
  }
  WaitingCandidate& wait(uint32_t slot, int32_t n_goal, int32_t n_cached = 0) {
    WaitingCandidate w;
    w.slot = slot;
    w.arrival = slot;
    w.n_goal = n_goal;
    w.n_cached = n_cached;
    w.n_free_blocks_taken = blocks_for(n_goal, config.block_size) - n_cached / config.block_size;
    waiting.push_back(w);
    return waiting.back();
  }
  Decision decide() {
    s.running = running;
    s.waiting = waiting;
    s.tenants = tenants;
    s.n_resident = std::max<int32_t>(s.n_resident, static_cast<int32_t>(running.size()));
    s.n_waiting = static_cast<int32_t>(waiting.size());
    return schedule(s, config);
  }
};

std::map<uint32_t, int32_t> tokens_of(const Decision& d) {
  std::map<uint32_t, int32_t> tokens;
  for (const SpanChoice& span : d.spans) tokens[span.slot] = span.n_tokens;
  for (const AdmitChoice& admit : d.admits) tokens[admit.slot] = admit.n_tokens;
  return tokens;
}
using Tokens = std::map<uint32_t, int32_t>;

TEST(Schedule, NothingToDo) { EXPECT_TRUE(World().decide().empty()); }

TEST(Schedule, DecodesGoFirstAndPromptsShareWhatIsLeftOfTheBudget) {
  World w;
  w.run(1, 5, 6);
  w.run(2, 4, 30);
  w.run(3, 9, 10);
  w.wait(4, 10);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {3, 1}, {2, 14}}));
  w.config.max_step_tokens = 32;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {3, 1}, {2, 26}, {4, 4}}));
}

TEST(Schedule, APrefixHitNeedsOnlyTheRest) {
  World w;
  w.wait(1, 15, 12);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 3}}));
}

TEST(Schedule, MoreDecodesThanTheBudgetTakeTurns) {
  World w;
  w.config.max_step_tokens = 2;
  w.run(1, 5, 6).last_step = 9;
  w.run(2, 5, 6).last_step = 7;
  w.run(3, 5, 6).last_step = 8;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{2, 1}, {3, 1}}));
}

TEST(Schedule, DecodesThatFillTheBudgetLeaveAQuarterToPromptsUnderWay) {
  World w;
  w.config.max_step_tokens = 4;
  for (uint32_t i = 1; i <= 5; ++i) w.run(i, 5, 6);
  w.run(6, 0, 9);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {2, 1}, {3, 1}, {6, 1}}));
}

TEST(Schedule, BetterPriorityGoesFirstThenLeastServedTenantThenArrival) {
  World w;
  w.config.max_step_tokens = 4;
  w.run(5, 0, 9);
  w.wait(6, 4).priority = -1;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{6, 4}})) << "priority before a prefill under way";
  w.waiting[0].priority = 0;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{5, 4}})) << "arrival";
  w.tenants[0].served = 100;
  w.waiting[0].tenant = 1;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{6, 4}})) << "the tenant that was served least";
}

TEST(Schedule, NoMoreRunThanMaxRunning) {
  World w;
  w.config.max_running = 2;
  w.run(1, 5, 6);
  w.wait(2, 3);
  w.wait(3, 3);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {2, 3}}));
  w.s.n_resident = 2;  // one that ended is still in flight
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}}));
}

TEST(Schedule, ARequestIsAdmittedOnlyWithBlocksForAllItsTokensAndHoldsBackThoseBehind) {
  World w;
  w.s.n_blocks = 10;
  w.s.n_free_blocks = 5;
  w.wait(1, 24);
  w.wait(2, 2);
  EXPECT_TRUE(w.decide().empty());
  w.s.n_free_blocks = 6;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 16}}));
}

TEST(Schedule, AdmissionLeavesABlockForThoseThatRun) {
  World w;
  w.s.n_blocks = 10;
  w.s.n_free_blocks = 2;
  w.run(1, 5, 6);
  w.wait(2, 8);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}}));
  w.s.n_free_blocks = 3;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {2, 8}}));
}

TEST(Schedule, WithoutBlocksTheLastOfTheWorstPriorityIsPreempted) {
  World w;
  w.s.n_free_blocks = 0;
  w.run(1, 8, 9);
  w.run(2, 5, 6).priority = 1;
  w.run(3, 5, 6).priority = 1;
  w.run(4, 5, 6);
  const Decision d = w.decide();
  EXPECT_EQ(d.preempt, (std::vector<uint32_t>{3}));
  EXPECT_TRUE(d.spans.empty()) << "decided again once the victim's blocks are free";
}

TEST(Schedule, TheOneThatNeedsABlockMayBeTheWorst) {
  World w;
  w.s.n_free_blocks = 0;
  w.run(1, 5, 6);
  w.run(2, 8, 9);
  EXPECT_EQ(w.decide().preempt, (std::vector<uint32_t>{2}));
}

TEST(Schedule, AVictimInFlightIsWaitedFor) {
  World w;
  w.s.n_stages = 2;
  w.s.n_free_blocks = 0;
  w.run(1, 8, 9);
  w.run(2, 5, 6);
  World::fly(w.run(3, 5, 6), 4, 1);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{2, 1}})) << "1 waits for the blocks of 3";
}

TEST(Schedule, AStrictlyBetterPriorityPreemptsForAdmission) {
  World w;
  w.config.max_running = 2;
  w.run(1, 5, 6).priority = 1;
  w.run(2, 5, 6).priority = 2;
  w.wait(3, 4).priority = 1;
  EXPECT_EQ(w.decide().preempt, (std::vector<uint32_t>{2}));
  w.waiting[0].priority = 2;
  EXPECT_TRUE(w.decide().preempt.empty()) << "equals wait";
  EXPECT_EQ(w.decide().spans.size(), 2u);
}

// Such a step has no place for a prompt, and the one in the way is free in no other decision.
TEST(Schedule, ADecodeThatFillsItsStepIsPreemptedForABetterPriorityToo) {
  World w;
  w.s.n_stages = 2;
  w.s.n_free_blocks = 0;
  w.run(1, 5, 6).priority = 1;
  w.wait(2, 4).priority = 0;
  EXPECT_EQ(w.decide().preempt, (std::vector<uint32_t>{1}));
  w.s.assume_done = StepId(7);
  EXPECT_TRUE(w.decide().wants_preemption);
  w.s.assume_done = StepId();
  w.s.n_stages = 1;
  w.config.max_step_tokens = 1;
  EXPECT_EQ(w.decide().preempt, (std::vector<uint32_t>{1}));
  w.waiting[0].priority = 1;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}})) << "equals wait";
  w.waiting[0].priority = 0;
  w.s.n_free_blocks = 50;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}})) << "it fits, and waits for its turn";
}

TEST(Schedule, NobodyIsPreemptedWhenItWouldNotBeEnough) {
  World w;
  w.s.n_free_blocks = 1;
  w.run(1, 5, 6).priority = 1;
  w.run(2, 5, 6);
  w.wait(3, 40).priority = 0;
  EXPECT_TRUE(w.decide().preempt.empty());
}

TEST(Schedule, StagesShareTheSequences) {
  World w;
  w.s.n_stages = 2;
  for (uint32_t i = 1; i <= 5; ++i) w.run(i, 5, 6);
  EXPECT_EQ(w.decide().spans.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) World::fly(w.running[i], 1, 1);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{4, 1}, {5, 1}}));
}

TEST(Schedule, TheNextChunkOfAPromptNeedsNoResultOfTheOneBeforeIt) {
  World w;
  w.s.n_stages = 2;
  World::fly(w.run(1, 0, 40), 1, 16);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 16}}));
  World::fly(w.running[0], 2, 16);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 8}}));
  World::fly(w.running[0], 3, 8);
  EXPECT_TRUE(w.decide().empty()) << "what follows is the last chunk's to sample";
}

TEST(Schedule, APromptUnderWayIsInEveryStepBesideADecodesTurn) {
  World w;
  w.s.n_stages = 2;
  for (uint32_t i = 1; i <= 4; ++i) w.run(i, 5, 6);
  w.run(5, 0, 40);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {2, 1}, {5, 14}}));
  for (uint32_t i = 0; i < 2; ++i) World::fly(w.running[i], 1, 1);
  World::fly(w.running[4], 1, 14);
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{3, 1}, {4, 1}, {5, 14}}));
}

TEST(Schedule, APromptThatIsToBePreemptedIsPlannedNoFurther) {
  World w;
  w.s.n_stages = 2;
  w.s.n_free_blocks = 0;
  w.run(1, 8, 9);  // needs a block
  World::fly(w.run(2, 0, 40), 4, 16);
  EXPECT_TRUE(w.decide().empty()) << "else it would be in flight until its prompt is done";
  w.running[1].n_in_flight = 0;
  EXPECT_EQ(w.decide().preempt, (std::vector<uint32_t>{2}));
}

TEST(Schedule, APromptStandsStillForABetterPriorityThatWaitsForItsBlocks) {
  World w;
  w.s.n_stages = 2;
  w.s.n_free_blocks = 2;
  RunningSequence& worse = w.run(1, 0, 40);
  worse.priority = 1;
  World::fly(worse, 4, 16);
  w.wait(2, 12).priority = 0;
  EXPECT_TRUE(w.decide().empty());
  w.running[0].n_in_flight = 0;
  EXPECT_EQ(w.decide().preempt, (std::vector<uint32_t>{1}));
}

TEST(ScheduleAhead, SequencesOfTheAssumedStepHaveAdvanced) {
  World w;
  w.s.assume_done = StepId(3);
  World::fly(w.run(1, 5, 6), 3, 1);
  World::fly(w.run(2, 0, 20), 3, 12);
  RunningSequence& ending = w.run(3, 5, 6);
  World::fly(ending, 3, 1);
  ending.n_limit = 7;
  EXPECT_EQ(tokens_of(w.decide()), (Tokens{{1, 1}, {2, 8}})) << "3 ends by length with step 3";
}

TEST(ScheduleAhead, NeverPreempts) {
  World w;
  w.s.assume_done = StepId(3);
  w.s.n_free_blocks = 0;
  w.run(1, 8, 9);
  w.run(2, 5, 6);
  const Decision d = w.decide();
  EXPECT_TRUE(d.wants_preemption);
  EXPECT_TRUE(d.preempt.empty());
}

TEST(ScheduleDeathTest, ALoneSequenceThatThePoolCannotHoldIsAnError) {
  World w;
  w.s.n_free_blocks = 0;
  w.run(1, 8, 9);
  EXPECT_DEATH(w.decide(), "one sequence alone needs more blocks than the pool has");
}

TEST(PickWaiting, TenantsAlternateByWhatTheyWereServed) {
  const std::vector<WaitingEntry> a = {{0, 1, 1, 10}, {0, 2, 2, 10}, {0, 3, 3, 10}};
  const std::vector<WaitingEntry> b = {{0, 4, 4, 10}, {0, 5, 5, 10}};
  const std::vector<TenantQueue> queues = {{{0, 1}, a}, {{0, 1}, b}};
  std::vector<uint32_t> slots;
  for (const WaitingEntry& entry : pick_waiting(queues, 10)) slots.push_back(entry.slot);
  EXPECT_EQ(slots, (std::vector<uint32_t>{1, 4, 2, 5, 3}));
  EXPECT_EQ(pick_waiting(queues, 2).size(), 2u);
}

TEST(PickWaiting, WeightTwoIsServedTwiceAsMuch) {
  std::vector<WaitingEntry> a, b;
  for (uint32_t i = 0; i < 30; ++i) {
    a.push_back({0, i, i, 10});
    b.push_back({0, 100 + i, 100 + i, 10});
  }
  const std::vector<TenantQueue> queues = {{{0, 1}, a}, {{0, 2}, b}};
  const auto picked = pick_waiting(queues, 30);
  const auto of_b = std::count_if(picked.begin(), picked.end(),
                                  [](const WaitingEntry& e) { return e.slot >= 100; });
  EXPECT_EQ(of_b, 20);
}

TEST(PickWaiting, PriorityComesBeforeFairness) {
  const std::vector<WaitingEntry> a = {{-1, 9, 1, 10}};
  const std::vector<WaitingEntry> b = {{0, 1, 2, 10}};
  const std::vector<TenantQueue> queues = {{{1'000'000, 1}, a}, {{0, 1}, b}};
  EXPECT_EQ(pick_waiting(queues, 1).at(0).slot, 1u);
}

}  // namespace
}  // namespace trireme::coordinator
