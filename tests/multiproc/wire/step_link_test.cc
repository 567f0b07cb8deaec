// The step link between real processes: plans and results, and every way to lose the other side.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "parallel/wire/zmq_step_link.h"

namespace trireme::wire {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kBeatNs = 50 * kMillisecondNs;
// Where a side is lost, which is then noticed after this long; a busy machine may add its slack.
constexpr int64_t kDeadNs = 1500 * kMillisecondNs;
constexpr int64_t kSlackNs = 20 * kSecondNs;
// Where nobody may be lost, however long a busy machine keeps a thread waiting.
constexpr int64_t kPatientNs = 60 * kSecondNs;

CoordinatorLinkOptions coordinator_options(int n_ranks, int64_t dead_ns = kPatientNs,
                                           const std::string& host = "127.0.0.1") {
  return {.n_ranks = n_ranks, .bind_host = host, .heartbeat_ns = kBeatNs, .dead_ns = dead_ns};
}

RankLinkOptions rank_options(int64_t dead_ns = kPatientNs,
                             std::function<void(const Error&)> on_lost = nullptr) {
  return {.heartbeat_ns = kBeatNs,
          .dead_ns = dead_ns,
          .connect_timeout_ns = kPatientNs,
          .on_lost = std::move(on_lost)};
}

// The address reaches a forked rank through a pipe: a process forks before ZeroMQ has threads in
// it.
class AddressPipe {
 public:
  AddressPipe() { EXPECT_EQ(::pipe(fds_), 0); }
  ~AddressPipe() {
    ::close(fds_[0]);
    ::close(fds_[1]);
  }
  void write(const StepLinkAddress& address, int n_readers) {
    std::string text = address.to_string();
    text.resize(1024, ' ');
    for (int i = 0; i < n_readers; ++i) {
      ASSERT_EQ(::write(fds_[1], text.data(), text.size()), 1024);
    }
  }
  StepLinkAddress read() {
    std::string text(1024, '\0');
    if (::read(fds_[0], text.data(), text.size()) != 1024) ::_exit(91);
    text.resize(text.find_last_not_of(' ') + 1);
    return StepLinkAddress::parse(text).value();
  }

 private:
  int fds_[2] = {-1, -1};
};

// A rank's process: ready, then one result per plan, until it is told to stop. Exit 0: Shutdown; 3:
// coordinator lost.
[[noreturn]] void run_rank(AddressPipe& pipe, int rank, int64_t dead_ns) {
  const StepLinkAddress address = pipe.read();
  auto link =
      connect_rank_link(address, rank, rank_options(dead_ns, [](const Error&) { ::_exit(3); }));
  if (!link.ok()) ::_exit(90);
  if (!(*link)->send(step::RankReady{.worker_rank = rank, .n_kv_blocks = 100 + rank}).ok()) {
    ::_exit(92);
  }
  while (true) {
    const auto command = (*link)->receive();
    if (!command.ok()) ::_exit(4);
    if (std::holds_alternative<step::Shutdown>(*command)) ::_exit(0);
    if (const auto* plan = std::get_if<step::StepPlan>(&*command)) {
      if (!(*link)->send(step::StepResult{.header = plan->header, .outputs = {}}).ok()) ::_exit(93);
    }
  }
}

class StepLinkTest : public ::testing::Test {
 protected:
  void start(int n_ranks, int64_t dead_ns = kPatientNs, const std::string& host = "127.0.0.1") {
    for (int rank = 0; rank < n_ranks; ++rank) {
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) run_rank(pipe_, rank, dead_ns);
      children_.push_back(child);
    }
    auto bound = bind_coordinator_link(coordinator_options(n_ranks, dead_ns, host));
    ASSERT_TRUE(bound.ok()) << bound.error().message;
    link_ = std::move(bound->link);
    pipe_.write(bound->address, n_ranks);
    for (int n_ready = 0; n_ready < n_ranks; ++n_ready) {
      const auto event = link_->receive(kPatientNs);
      ASSERT_TRUE(event.has_value());
      ASSERT_TRUE(std::holds_alternative<step::RankReady>(*event));
    }
  }

  void TearDown() override {
    link_.reset();
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }

  int exit_code(size_t rank) {
    int status = 0;
    EXPECT_EQ(::waitpid(children_[rank], &status, 0), children_[rank]);
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(rank));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  step::StepPlan plan(uint64_t step) {
    step::StepPlan plan;
    plan.header.step = StepId(step);
    plan.spans.resize(2);
    return plan;
  }

  // The next RankFailure, whatever else comes before it.
  std::optional<step::RankFailure> next_failure(int64_t limit_ns) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit_ns);
    while (std::chrono::steady_clock::now() < end) {
      const auto event = link_->receive(100 * kMillisecondNs);
      if (event.has_value() && std::holds_alternative<step::RankFailure>(*event)) {
        return std::get<step::RankFailure>(*event);
      }
    }
    return std::nullopt;
  }

  AddressPipe pipe_;
  std::vector<pid_t> children_;
  std::unique_ptr<step::CoordinatorLink> link_;
};

TEST_F(StepLinkTest, PlansReachEveryRankInOrderAndResultsComeBack) {
  start(3);
  for (uint64_t step = 1; step <= 50; ++step) ASSERT_TRUE(link_->send(plan(step)).ok());
  std::map<uint64_t, int> n_results;
  for (int i = 0; i < 150; ++i) {
    const auto event = link_->receive(kPatientNs);
    ASSERT_TRUE(event.has_value());
    ++n_results[std::get<step::StepResult>(*event).header.step.value()];
  }
  EXPECT_EQ(n_results.size(), 50u);
  for (const auto& [step, n] : n_results) EXPECT_EQ(n, 3) << step;
  ASSERT_TRUE(link_->send(step::Shutdown{"done"}).ok());
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(exit_code(0), 0);
}

TEST_F(StepLinkTest, ARankThatLeavesAsToldIsNoFailure) {
  start(1, kDeadNs);
  ASSERT_TRUE(link_->send(step::Shutdown{"done"}).ok());
  EXPECT_EQ(exit_code(0), 0);
  EXPECT_FALSE(link_->receive(2 * kDeadNs).has_value());
}

TEST_F(StepLinkTest, UnixSocketsCarryItToo) {
  start(2, kPatientNs, "");
  ASSERT_TRUE(link_->send(plan(1)).ok());
  for (int i = 0; i < 2; ++i) {
    const auto event = link_->receive(kPatientNs);
    ASSERT_TRUE(event.has_value());
    EXPECT_TRUE(std::holds_alternative<step::StepResult>(*event));
  }
}

TEST_F(StepLinkTest, AStoppedRankIsNamedWithinItsDeadline) {
  start(2, kDeadNs);
  ASSERT_EQ(::kill(children_[1], SIGSTOP), 0);
  const auto begin = std::chrono::steady_clock::now();
  const auto failure = next_failure(kDeadNs + kSlackNs);
  const auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->worker_rank, 1);
  EXPECT_EQ(failure->op, "heartbeat");
  EXPECT_GE(took, std::chrono::nanoseconds(kDeadNs / 2));
  EXPECT_LT(took, std::chrono::nanoseconds(kDeadNs + kSlackNs));
  EXPECT_FALSE(next_failure(kDeadNs).has_value()) << "said twice, or of the other rank";
}

TEST_F(StepLinkTest, AKilledRankIsNamed) {
  start(2, kDeadNs);
  ASSERT_EQ(::kill(children_[0], SIGKILL), 0);
  const auto begin = std::chrono::steady_clock::now();
  const auto failure = next_failure(kDeadNs + kSlackNs);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->worker_rank, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::nanoseconds(kDeadNs + kSlackNs));
  const Status status = link_->send(plan(1));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(status.error().message.find("rank 0"), std::string::npos);
}

TEST_F(StepLinkTest, RanksEndThemselvesWhenTheCoordinatorIsGone) {
  start(2, kDeadNs);
  link_.reset();  // no Shutdown: as if the process had died
  EXPECT_EQ(exit_code(0), 3);
  EXPECT_EQ(exit_code(0), 3);
}

TEST_F(StepLinkTest, TheDescriptorWakesAPollAfterASend) {
  start(1);
  for (uint64_t step = 1; step <= 200; ++step) {
    while (link_->receive(0).has_value()) {
    }
    ASSERT_TRUE(link_->send(plan(step)).ok());
    bool heard = false;
    while (!heard) {
      pollfd item{link_->event_fd(), POLLIN, 0};
      ASSERT_EQ(::poll(&item, 1, 60'000), 1)
          << "a result came and nobody was woken at step " << step;
      heard = link_->receive(0).has_value();
    }
  }
}

TEST(StepLink, ARankThatNeverComesIsNamed) {
  auto options = coordinator_options(2);
  options.join_ns = 200 * kMillisecondNs;
  const auto bound = bind_coordinator_link(options);
  ASSERT_TRUE(bound.ok());
  for (int i = 0; i < 2; ++i) {
    const auto event = bound->link->receive(kPatientNs);
    ASSERT_TRUE(event.has_value());
    const auto& failure = std::get<step::RankFailure>(*event);
    EXPECT_EQ(failure.worker_rank, i);
    EXPECT_NE(failure.message.find("did not connect"), std::string::npos);
  }
  EXPECT_EQ(bound->link->send(step::SetKvBlocks{5}).error().code, ErrorCode::kUnavailable);
}

TEST(StepLink, AnotherJobsKeyDoesNotGetIn) {
  const auto job = bind_coordinator_link(coordinator_options(1));
  const auto other = bind_coordinator_link(coordinator_options(1));
  ASSERT_TRUE(job.ok() && other.ok());
  StepLinkAddress mixed = job->address;
  mixed.client_public_key = other->address.client_public_key;
  mixed.client_secret_key = other->address.client_secret_key;
  auto options = rank_options();
  options.connect_timeout_ns = 300 * kMillisecondNs;
  const auto rank = connect_rank_link(mixed, 0, options);
  ASSERT_FALSE(rank.ok());
  EXPECT_EQ(rank.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(job->link->receive(0).has_value());
}

TEST(StepLink, ALostCoordinatorEndsTheWaitAndCallsBackOnce) {
  auto bound = bind_coordinator_link(coordinator_options(1));
  ASSERT_TRUE(bound.ok());
  std::atomic<int> n_lost{0};
  auto rank =
      connect_rank_link(bound->address, 0, rank_options(kDeadNs, [&](const Error&) { ++n_lost; }));
  ASSERT_TRUE(rank.ok()) << rank.error().message;
  std::thread ender([&] { bound->link.reset(); });
  for (int i = 0; i < 2; ++i) {
    const auto command = (*rank)->receive();
    ASSERT_FALSE(command.ok());
    EXPECT_EQ(command.error().code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ((*rank)->poll().error().code, ErrorCode::kUnavailable);
  ender.join();
  EXPECT_EQ(n_lost, 1);
  EXPECT_EQ((*rank)->send(step::LoadProgress{}).error().code, ErrorCode::kUnavailable);
}

// A command that came while its rank did not wait is neither lost nor slept through.
TEST(StepLink, ARankPollsAndWaitsInTurn) {
  auto bound = bind_coordinator_link(coordinator_options(1));
  ASSERT_TRUE(bound.ok());
  auto rank = connect_rank_link(bound->address, 0, rank_options());
  ASSERT_TRUE(rank.ok());
  const auto nothing = (*rank)->poll();
  ASSERT_TRUE(nothing.ok());
  EXPECT_FALSE(nothing->has_value());
  for (int i = 0; i < 200; ++i) {
    while (!bound->link->send(step::SetKvBlocks{2 * i}).ok()) std::this_thread::sleep_for(1ms);
    ASSERT_TRUE(bound->link->send(step::SetKvBlocks{2 * i + 1}).ok());
    Result<std::optional<step::RankCommand>> first = std::optional<step::RankCommand>();
    while (first.ok() && !first->has_value()) first = (*rank)->poll();
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(std::get<step::SetKvBlocks>(**first).n_blocks, 2 * i);
    const auto second = (*rank)->receive();
    ASSERT_TRUE(second.ok());
    EXPECT_EQ(std::get<step::SetKvBlocks>(*second).n_blocks, 2 * i + 1);
  }
}

TEST(StepLink, ManyThreadsOfARankMaySendWhileItsMainThreadWaits) {
  auto bound = bind_coordinator_link(coordinator_options(1));
  ASSERT_TRUE(bound.ok());
  auto rank = connect_rank_link(bound->address, 0, rank_options());
  ASSERT_TRUE(rank.ok());
  std::thread main_thread([&] {
    int n_plans = 0;
    while (true) {
      const auto command = (*rank)->receive();
      ASSERT_TRUE(command.ok());
      if (std::holds_alternative<step::Shutdown>(*command)) break;
      ++n_plans;
    }
    EXPECT_EQ(n_plans, 500);
  });
  constexpr int kSenders = 3;
  std::vector<std::thread> senders;
  senders.reserve(kSenders);
  for (int t = 0; t < kSenders; ++t) {
    senders.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        ASSERT_TRUE((*rank)->send(step::LoadProgress{.bytes_done = i, .bytes_total = 500}).ok());
      }
    });
  }
  int n_events = 0;
  for (int step = 0; step < 500; ++step) {
    // The connection may be a moment behind the first heartbeat.
    while (!bound->link->send(step::SetKvBlocks{step}).ok()) std::this_thread::sleep_for(1ms);
    while (bound->link->receive(0).has_value()) ++n_events;
  }
  while (n_events < 1500) {
    ASSERT_TRUE(bound->link->receive(kPatientNs).has_value());
    ++n_events;
  }
  ASSERT_TRUE(bound->link->send(step::Shutdown{"done"}).ok());
  main_thread.join();
  for (std::thread& sender : senders) sender.join();
}

}  // namespace
}  // namespace trireme::wire
