// Groups whose ranks are processes of this node: a rank that dies or stops is an error of the
// others, never a hang.
//
// Children are made by fork() and share an anonymous region: the engine is the one that MPI ranks
// of a node use, and here one of them can be killed without a launcher that ends the rest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>

#include "parallel/comm/shm/shm_group.h"
#include "tests/unit/comm/group_cases.h"

namespace trireme::comm {
namespace {

using testing::GroupCases;
using ::testing::HasSubstr;

constexpr int kRanks = 3;

std::unique_ptr<ShmGroup> make_group(const std::shared_ptr<Region>& region, int rank,
                                     const Clock& clock) {
  return std::make_unique<ShmGroup>(
      region, ShmGroupOptions{.name = "tp", .worker_ranks = {0, 1, 2}, .rank = rank}, clock);
}

// A child process that runs one rank; its exit code is the body's.
class Child {
 public:
  Child(const std::shared_ptr<Region>& region, int rank, const std::function<int(Group&)>& body)
      : pid_(fork()) {
    if (pid_ != 0) return;
    const SystemClock clock;
    int code = 0;
    {
      const std::unique_ptr<ShmGroup> group = make_group(region, rank, clock);
      code = body(*group);
    }
    _exit(code);
  }
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    wait_exit();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { kill(pid_, number); }
  int wait_exit() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

OpContext soon(const Clock& clock, int64_t timeout_ns) {
  OpContext context;
  context.step = StepId(11);
  context.op = "layer 0 mlp all_reduce";
  context.deadline_ns = clock.now_ns() + timeout_ns;
  return context;
}

int run_cases(Group& group) {
  const SystemClock clock;
  return GroupCases(group, clock).run_all({1, 5000, 200'000}).ok() ? 0 : 1;
}

// One barrier, then wait to be killed.
int join_then_sleep(Group& group) {
  const SystemClock clock;
  if (!group.barrier(soon(clock, 60'000'000'000)).ok()) return 1;
  while (true) pause();
}

int join_then_expect_error(Group& group) {
  const SystemClock clock;
  if (!group.barrier(soon(clock, 60'000'000'000)).ok()) return 1;
  const Status second = group.barrier(soon(clock, 1'500'000'000));
  return second.ok() ? 2 : 0;
}

TEST(ForkedGroup, EveryOperationIsRightBetweenProcesses) {
  Result<std::shared_ptr<Region>> region = Region::anonymous({.n_ranks = kRanks});
  ASSERT_TRUE(region.ok());
  Child one(*region, 1, run_cases);
  Child two(*region, 2, run_cases);
  const SystemClock clock;
  EXPECT_EQ(run_cases(*make_group(*region, 0, clock)), 0);
  EXPECT_EQ(one.wait_exit(), 0);
  EXPECT_EQ(two.wait_exit(), 0);
}

TEST(ForkedGroup, AMemfdIsTheSameMemoryInAnotherProcess) {
  constexpr uint64_t kNonce = 0x1234;
  const RegionOptions options{.n_ranks = kRanks};
  Result<std::shared_ptr<Region>> region = Region::create_shared(options, kNonce);
  ASSERT_TRUE(region.ok()) << region.error().message;
  const pid_t parent = getpid();
  const int fd = (*region)->fd();
  const pid_t child = fork();
  if (child == 0) {
    Result<std::shared_ptr<Region>> opened = Region::open_shared(options, parent, fd, kNonce);
    const Result<std::shared_ptr<Region>> wrong =
        Region::open_shared(options, parent, fd, kNonce + 1);
    if (opened.ok()) (*opened)->cell(1).arrived.store_and_wake(42);
    _exit(opened.ok() && !wrong.ok() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ((*region)->cell(1).arrived.load(), 42u);
}

TEST(ForkedGroup, AStoppedRankMakesTheOthersReturnAtTheDeadline) {
  Result<std::shared_ptr<Region>> region = Region::anonymous({.n_ranks = kRanks});
  ASSERT_TRUE(region.ok());
  Child stopped(*region, 1, join_then_sleep);
  Child other(*region, 2, join_then_expect_error);
  const SystemClock clock;
  const std::unique_ptr<ShmGroup> group = make_group(*region, 0, clock);
  ASSERT_TRUE(group->barrier(soon(clock, 60'000'000'000)).ok());
  stopped.signal(SIGSTOP);
  const int64_t begin_ns = clock.now_ns();
  const Status status = group->barrier(soon(clock, 1'000'000'000));
  EXPECT_LT(clock.now_ns() - begin_ns, 30'000'000'000);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("rank 1"));
  EXPECT_THAT(status.error().message, HasSubstr("step 11"));
  EXPECT_THAT(status.error().message, HasSubstr("layer 0 mlp all_reduce"));
  EXPECT_EQ(other.wait_exit(), 0);
}

TEST(ForkedGroup, AKilledRankIsMissedLongBeforeTheDeadline) {
  Result<std::shared_ptr<Region>> region = Region::anonymous({.n_ranks = kRanks});
  ASSERT_TRUE(region.ok());
  Child killed(*region, 1, join_then_sleep);
  Child other(*region, 2, join_then_expect_error);
  const SystemClock clock;
  const std::unique_ptr<ShmGroup> group = make_group(*region, 0, clock);
  ASSERT_TRUE(group->barrier(soon(clock, 60'000'000'000)).ok());
  killed.signal(SIGKILL);
  EXPECT_EQ(killed.wait_exit(), -SIGKILL);
  const int64_t begin_ns = clock.now_ns();
  const Status status = group->barrier(soon(clock, 60'000'000'000));
  EXPECT_LT(clock.now_ns() - begin_ns, 30'000'000'000);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(other.wait_exit(), 0);
}

TEST(ForkedGroup, ARankKilledInTheMiddleOfOperationsNeverHangsTheOthers) {
  for (int round = 0; round < 5; ++round) {
    Result<std::shared_ptr<Region>> region = Region::anonymous({.n_ranks = kRanks});
    ASSERT_TRUE(region.ok());
    const auto reduce_until_error = [](Group& group) {
      const SystemClock clock;
      std::vector<float> x(20'000);
      while (group.all_reduce_sum(GroupCases::view(x), soon(clock, 500'000'000)).ok()) {
      }
      return 0;
    };
    Child killed(*region, 1, reduce_until_error);
    Child other(*region, 2, reduce_until_error);
    const SystemClock clock;
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(10 + 7 * round));
      killed.signal(SIGKILL);
    });
    const std::unique_ptr<ShmGroup> group = make_group(*region, 0, clock);
    EXPECT_EQ(reduce_until_error(*group), 0);
    killer.join();
    EXPECT_EQ(other.wait_exit(), 0);
  }
}

}  // namespace
}  // namespace trireme::comm
