// A column over two groups: neighbours meet in the same one, and each boundary has its turn.
#include "parallel/comm/alternating_group.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "parallel/comm/inproc/inproc_world.h"

namespace trireme::comm {
namespace {

constexpr int kStages = 4;

TEST(AlternatingGroup, EachBoundaryHasAGroupOfItsOwnTurn) {
  const SystemClock clock;
  std::vector<Mesh> even = make_inproc_meshes(1, kStages, clock);
  std::vector<Mesh> odd = make_inproc_meshes(1, kStages, clock);
  const auto within = [&](std::string_view op) {
    return OpContext{.step = StepId(1), .op = op, .deadline_ns = clock.now_ns() + 10'000'000'000};
  };
  // The column's ranks with what a plain rank of each group hears from them.
  int32_t value = 0;
  const TensorView view(&value, DType::kI32, {1});
  auto column = [&](int stage) {
    return make_alternating_group(std::move(even[static_cast<size_t>(stage)].pp),
                                  std::move(odd[static_cast<size_t>(stage)].pp));
  };
  const auto first = column(0);
  const auto second = column(1);
  EXPECT_EQ(second->rank(), 1);
  EXPECT_EQ(second->size(), kStages);
  value = 10;
  ASSERT_TRUE(first->send(view, 1, within("0 to 1")).ok());
  value = 21;
  ASSERT_TRUE(second->send(view, 2, within("1 to 2")).ok());
  // 1 to 2 went over the odd group: its own rank 2 hears it there.
  value = 0;
  ASSERT_TRUE(odd[2].pp->recv(view, 1, within("2 from 1")).ok());
  EXPECT_EQ(value, 21);
  // And 0 to 1 over the even one, behind which nothing waited.
  ASSERT_TRUE(second->recv(view, 0, within("1 from 0")).ok());
  EXPECT_EQ(value, 10);
  EXPECT_DEATH((void)first->send(view, 2, within("0 to 2")), "only neighbours");
}

TEST(AlternatingGroup, AChainPassesValuesOn) {
  const SystemClock clock;
  std::vector<Mesh> even = make_inproc_meshes(1, kStages, clock);
  std::vector<Mesh> odd = make_inproc_meshes(1, kStages, clock);
  std::vector<Status> ends(kStages);
  std::vector<std::thread> threads;
  threads.reserve(kStages);
  for (int stage = 0; stage < kStages; ++stage) {
    threads.emplace_back([&, stage] {
      const auto at = static_cast<size_t>(stage);
      const auto group = make_alternating_group(std::move(even[at].pp), std::move(odd[at].pp));
      const auto pass = [&](int32_t round) -> Status {
        const OpContext context{
            .step = StepId(1), .op = "pass", .deadline_ns = clock.now_ns() + 20'000'000'000};
        int32_t value = round;
        const TensorView view(&value, DType::kI32, {1});
        if (stage > 0) TRY(group->recv(view, stage - 1, context));
        if (value != round + stage) return internal_error("a value is not its round's");
        ++value;
        if (stage + 1 < kStages) TRY(group->send(view, stage + 1, context));
        return group->check_enqueued(context);
      };
      for (int32_t round = 0; round < 100 && ends[at].ok(); ++round) ends[at] = pass(round * 7);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& end : ends) EXPECT_TRUE(end.ok()) << end.error().message;
}

TEST(AlternatingGroup, AnAbortEndsBothBoundaries) {
  const SystemClock clock;
  std::vector<Mesh> even = make_inproc_meshes(1, kStages, clock);
  std::vector<Mesh> odd = make_inproc_meshes(1, kStages, clock);
  std::vector<std::unique_ptr<Group>> column;
  for (int stage = 0; stage < kStages; ++stage) {
    const auto at = static_cast<size_t>(stage);
    column.push_back(make_alternating_group(std::move(even[at].pp), std::move(odd[at].pp)));
  }
  column[1]->abort("its weights are corrupt");
  int32_t value = 0;
  const TensorView view(&value, DType::kI32, {1});
  for (const size_t neighbour : {0u, 2u}) {
    const OpContext context{
        .step = StepId(1), .op = "recv", .deadline_ns = clock.now_ns() + 20'000'000'000};
    const Status status = column[neighbour]->recv(view, 1, context);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("its weights are corrupt"), std::string::npos)
        << status.error().message;
  }
}

}  // namespace
}  // namespace trireme::comm
