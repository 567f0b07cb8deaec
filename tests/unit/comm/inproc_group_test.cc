// Groups whose ranks are threads: every collective, and every way in which one can fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "parallel/comm/inproc/inproc_world.h"
#include "tests/unit/comm/group_cases.h"

namespace trireme::comm {
namespace {

using testing::edge_sizes;
using testing::GroupCases;
using ::testing::HasSubstr;

// Runs `body` on a thread for each mesh and returns each one's answer.
std::vector<Status> on_each(std::vector<Mesh>& meshes, const std::function<Status(Mesh&)>& body) {
  std::vector<Status> answers(meshes.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < meshes.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = body(meshes[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

void expect_all_ok(const std::vector<Status>& answers) {
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_TRUE(answers[i].ok()) << "rank " << i << ": " << answers[i].error().to_string();
  }
}

OpContext soon(const Clock& clock, std::string_view op, int64_t timeout_ns = 60'000'000'000) {
  OpContext context;
  context.step = StepId(7);
  context.op = op;
  context.deadline_ns = clock.now_ns() + timeout_ns;
  return context;
}

struct Shape {
  int tp;
  int pp;
};
class InprocMesh : public ::testing::TestWithParam<Shape> {};

TEST_P(InprocMesh, EveryOperationOfEveryGroupIsRight) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(GetParam().tp, GetParam().pp, clock);
  expect_all_ok(on_each(meshes, [&](Mesh& mesh) -> Status {
    TRY(GroupCases(*mesh.tp, clock).run_all(edge_sizes()));
    TRY(GroupCases(*mesh.pp, clock).run_all({1, 1000, 300'000}));
    return GroupCases(*mesh.world, clock).run_all({1, 63, 5000});
  }));
}

INSTANTIATE_TEST_SUITE_P(Shapes, InprocMesh,
                         ::testing::Values(Shape{1, 1}, Shape{2, 1}, Shape{3, 1}, Shape{4, 1},
                                           Shape{1, 2}, Shape{1, 4}, Shape{2, 2}),
                         [](const auto& shape) {
                           return "tp" + std::to_string(shape.param.tp) + "pp" +
                                  std::to_string(shape.param.pp);
                         });

TEST(InprocGroup, RanksAndStagesAreWhereTheMeshSays) {
  const SystemClock clock;
  const std::vector<Mesh> meshes = make_inproc_meshes(3, 2, clock);
  ASSERT_EQ(meshes.size(), 6u);
  for (int i = 0; i < 6; ++i) {
    const Mesh& mesh = meshes[static_cast<size_t>(i)];
    EXPECT_EQ(mesh.worker_rank, i);
    EXPECT_EQ(mesh.tp_rank(), i % 3);
    EXPECT_EQ(mesh.stage(), i / 3);
    EXPECT_EQ(mesh.world->rank(), i);
    EXPECT_EQ(mesh.world->size(), 6);
  }
}

TEST(InprocGroup, ManyShortOperationsStayInStepWithMoreThreadsThanCores) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(8, 1, clock);
  expect_all_ok(on_each(meshes, [&](Mesh& mesh) -> Status {
    GroupCases cases(*mesh.tp, clock);
    for (int i = 0; i < 300; ++i) TRY(cases.all_reduce<float>(1 + i % 37));
    return {};
  }));
}

TEST(InprocGroup, SendRunsAheadOfRecvAndBlocksWhenTheRingIsFull) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(1, 2, clock);
  std::vector<int32_t> small(100);
  const TensorView view = GroupCases::view(small);
  // Nobody receives: what fits the ring is sent, and then the deadline names the rank that does not
  // come.
  Status status;
  int sent = 0;
  for (; sent < 10'000 && status.ok(); ++sent) {
    status = meshes[0].pp->send(view, 1, soon(clock, "hidden send", 50'000'000));
  }
  EXPECT_GT(sent, 100);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(status.error().message, HasSubstr("rank 1"));
}

TEST(InprocGroup, ALateRankIsNamedWithStepAndOperation) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(2, 2, clock);
  // Rank 3 of stage 1 does not come; its tp peer is rank 2.
  const Status status =
      meshes[2].tp->barrier(soon(clock, "layer 3 attention all_reduce", 60'000'000));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(status.error().message, HasSubstr("rank 3"));
  EXPECT_THAT(status.error().message, HasSubstr("step 7"));
  EXPECT_THAT(status.error().message, HasSubstr("layer 3 attention all_reduce"));
  // The group is unusable from then on, for both; the other stage's is not touched.
  EXPECT_EQ(meshes[2].tp->barrier(soon(clock, "next")).error().code, ErrorCode::kUnavailable);
  const Status late = meshes[3].tp->barrier(soon(clock, "next"));
  EXPECT_EQ(late.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(late.error().message, HasSubstr("rank 2 aborted"));
  std::vector<Mesh> stage0;
  stage0.push_back(std::move(meshes[0]));
  stage0.push_back(std::move(meshes[1]));
  expect_all_ok(on_each(stage0, [&](Mesh& m) { return m.tp->barrier(soon(clock, "fine")); }));
}

TEST(InprocGroup, ADeadlineOnAManualClockPassesWhenTheClockIsMoved) {
  ManualClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(2, 1, clock);
  std::thread mover([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    clock.advance_ns(2'000'000'000);
  });
  const Status status = meshes[0].tp->barrier(soon(clock, "step agreement", 1'000'000'000));
  mover.join();
  EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
}

TEST(InprocGroup, NoDeadlineMeansTheDefaultAndNotForEver) {
  ManualClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(2, 1, clock);
  std::thread mover([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    clock.advance_ns(31'000'000'000);
  });
  EXPECT_EQ(meshes[0].tp->barrier(OpContext{}).error().code, ErrorCode::kDeadlineExceeded);
  mover.join();
}

TEST(InprocGroup, AbortWakesEveryWaiterWithItsReason) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(4, 1, clock);
  std::vector<std::thread> threads;
  std::vector<Status> answers(3);
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < 3; ++i) {
    threads.emplace_back(
        [&, i] { answers[i] = meshes[i].tp->barrier(soon(clock, "barrier", 60'000'000'000)); });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  meshes[3].tp->abort("the weights of layer 2 are corrupt");
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  for (const Status& answer : answers) {
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(answer.error().message, HasSubstr("rank 3 aborted"));
    EXPECT_THAT(answer.error().message, HasSubstr("the weights of layer 2 are corrupt"));
  }
}

TEST(InprocGroup, ARankThatLeavesIsMissedAtOnce) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(2, 1, clock);
  meshes[1].tp.reset();
  const auto begin = std::chrono::steady_clock::now();
  const Status status = meshes[0].tp->barrier(soon(clock, "barrier", 60'000'000'000));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(status.error().message, HasSubstr("rank 1 is gone"));
}

TEST(InprocGroup, WhatWasSentBeforeARankLeftStillArrives) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(1, 2, clock);
  std::vector<int32_t> x = {1, 2, 3};
  ASSERT_TRUE(meshes[0].pp->send(GroupCases::view(x), 1, soon(clock, "send")).ok());
  meshes[0].pp.reset();
  std::vector<int32_t> y(3);
  ASSERT_TRUE(meshes[1].pp->recv(GroupCases::view(y), 0, soon(clock, "recv")).ok());
  EXPECT_EQ(x, y);
}

TEST(InprocGroup, RanksThatDisagreeOnAnOperationGetAnErrorAndNotGarbage) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(2, 1, clock);
  const std::vector<Status> answers = on_each(meshes, [&](Mesh& mesh) -> Status {
    std::vector<float> x(mesh.worker_rank == 0 ? 16 : 32, 1.0f);
    return mesh.tp->all_reduce_sum(GroupCases::view(x), soon(clock, "all_reduce"));
  });
  int n_out_of_step = 0;
  for (const Status& answer : answers) {
    ASSERT_FALSE(answer.ok());
    if (answer.error().code == ErrorCode::kInternal) {
      ++n_out_of_step;
      EXPECT_THAT(answer.error().message, HasSubstr("out of step"));
    }
  }
  EXPECT_GE(n_out_of_step, 1);
}

TEST(InprocGroup, RecvOfAnotherLengthIsAnError) {
  const SystemClock clock;
  std::vector<Mesh> meshes = make_inproc_meshes(1, 2, clock);
  std::vector<int32_t> x(3), y(4);
  ASSERT_TRUE(meshes[0].pp->send(GroupCases::view(x), 1, soon(clock, "send")).ok());
  const Status status = meshes[1].pp->recv(GroupCases::view(y), 0, soon(clock, "recv"));
  EXPECT_EQ(status.error().code, ErrorCode::kInternal);
}

}  // namespace
}  // namespace trireme::comm
