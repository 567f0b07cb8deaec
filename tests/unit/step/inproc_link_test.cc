#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "parallel/step/step_link.h"

namespace trireme::step {
namespace {

using ::testing::HasSubstr;

StepPlan plan_of(uint64_t step) {
  StepPlan plan;
  plan.header.step = StepId(step);
  return plan;
}

TEST(InprocLink, CommandsReachEveryRankInOrder) {
  InprocLinks links = make_inproc_links(3);
  EXPECT_EQ(links.coordinator->n_ranks(), 3);
  ASSERT_TRUE(links.coordinator->send(SetKvBlocks{64}).ok());
  for (uint64_t step = 1; step <= 5; ++step) {
    ASSERT_TRUE(links.coordinator->send(plan_of(step)).ok());
  }
  for (auto& rank : links.ranks) {
    const Result<RankCommand> first = rank->receive();
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(std::get<SetKvBlocks>(*first).n_blocks, 64);
    for (uint64_t step = 1; step <= 5; ++step) {
      const Result<RankCommand> next = rank->receive();
      ASSERT_TRUE(next.ok());
      EXPECT_EQ(std::get<StepPlan>(*next).header.step, StepId(step));
    }
  }
}

TEST(InprocLink, EventsOfARankComeInOrderAndTheTimeoutIsKept) {
  InprocLinks links = make_inproc_links(1);
  EXPECT_FALSE(links.coordinator->receive(0).has_value());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(links.coordinator->receive(20'000'000).has_value());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(20));
  ASSERT_TRUE(links.ranks[0]->send(LoadProgress{0, 1, 2}).ok());
  ASSERT_TRUE(links.ranks[0]->send(RankReady{.worker_rank = 0, .n_kv_blocks = 9}).ok());
  EXPECT_TRUE(std::holds_alternative<LoadProgress>(*links.coordinator->receive(0)));
  EXPECT_EQ(std::get<RankReady>(*links.coordinator->receive(0)).n_kv_blocks, 9);
}

TEST(InprocLink, AWaitingRankIsWokenByACommand) {
  InprocLinks links = make_inproc_links(1);
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(links.coordinator->send(plan_of(1)).ok());
  });
  EXPECT_TRUE(links.ranks[0]->receive().ok());
  sender.join();
}

TEST(InprocLink, ARankThatPollsDoesNotWait) {
  InprocLinks links = make_inproc_links(1);
  EXPECT_EQ(*links.ranks[0]->poll(), std::nullopt);
  ASSERT_TRUE(links.coordinator->send(plan_of(1)).ok());
  links.coordinator.reset();
  const auto command = links.ranks[0]->poll();
  ASSERT_TRUE(command.ok() && command->has_value());
  EXPECT_EQ(std::get<StepPlan>(**command).header.step, StepId(1));
  EXPECT_EQ(links.ranks[0]->poll().error().code, ErrorCode::kUnavailable);
}

TEST(InprocLink, ACoordinatorThatGoesIsUnavailableOnceItsCommandsAreRead) {
  InprocLinks links = make_inproc_links(1);
  ASSERT_TRUE(links.coordinator->send(Shutdown{"drained"}).ok());
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    links.coordinator.reset();
  });
  const Result<RankCommand> command = links.ranks[0]->receive();
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(std::get<Shutdown>(*command).reason, "drained");
  const Result<RankCommand> next = links.ranks[0]->receive();
  ASSERT_FALSE(next.ok());
  EXPECT_EQ(next.error().code, ErrorCode::kUnavailable);
  closer.join();
  EXPECT_EQ(links.ranks[0]->send(LoadProgress{}).error().code, ErrorCode::kUnavailable);
}

TEST(InprocLink, ARankThatGoesIsAFailureAndMakesSendUnavailable) {
  InprocLinks links = make_inproc_links(2);
  links.ranks[1].reset();
  const std::optional<RankEvent> event = links.coordinator->receive(0);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(std::get<RankFailure>(*event).worker_rank, 1);
  const Status status = links.coordinator->send(plan_of(1));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(status.error().message, HasSubstr("rank 1"));
  EXPECT_TRUE(links.ranks[0]->receive().ok());
}

TEST(InprocLink, ARankThatGoesWhenToldToIsNoFailure) {
  InprocLinks links = make_inproc_links(1);
  ASSERT_TRUE(links.coordinator->send(Shutdown{"bye"}).ok());
  ASSERT_TRUE(links.ranks[0]->receive().ok());
  links.ranks[0].reset();
  EXPECT_FALSE(links.coordinator->receive(0).has_value());
}

TEST(InprocLink, ManySendersLoseNothing) {
  constexpr int kEach = 2000;
  InprocLinks links = make_inproc_links(4);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int r = 0; r < 4; ++r) {
    threads.emplace_back([&, r] {
      for (int i = 0; i < kEach; ++i) {
        ASSERT_TRUE(links.ranks[static_cast<size_t>(r)]->send(LoadProgress{r, i, kEach}).ok());
      }
    });
  }
  std::vector<int64_t> next(4, 0);
  for (int i = 0; i < 4 * kEach; ++i) {
    const std::optional<RankEvent> event = links.coordinator->receive(5'000'000'000);
    ASSERT_TRUE(event.has_value());
    const LoadProgress& progress = std::get<LoadProgress>(*event);
    EXPECT_EQ(progress.bytes_done, next[static_cast<size_t>(progress.worker_rank)]++);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace trireme::step
