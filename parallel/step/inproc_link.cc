// The inproc transport: queues under one mutex, and a condition variable for each reader.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "parallel/step/step_link.h"

namespace trireme::step {
namespace {

// What may wait for one reader. The coordinator has at most a few steps in flight, so a queue this
// long means that its reader has stopped.
constexpr size_t kMaxQueued = 1 << 16;

struct RankState {
  std::deque<RankCommand> commands;
  std::condition_variable wake;
  bool closed = false;        // the rank's end is gone
  bool told_to_stop = false;  // a Shutdown was sent: its going is no failure
};

// Both ends' state; all of it is guarded by `mutex`. Lives until the last end is gone.
struct Shared {
  explicit Shared(int n_ranks) : ranks(static_cast<size_t>(n_ranks)) {}

  std::mutex mutex;
  std::vector<RankState> ranks;
  std::deque<RankEvent> events;
  std::condition_variable coordinator_wake;
  bool coordinator_closed = false;
};

class InprocCoordinatorLink final : public CoordinatorLink {
 public:
  explicit InprocCoordinatorLink(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~InprocCoordinatorLink() override {
    const std::lock_guard lock(shared_->mutex);
    shared_->coordinator_closed = true;
    for (RankState& rank : shared_->ranks) rank.wake.notify_all();
  }

  int n_ranks() const override { return static_cast<int>(shared_->ranks.size()); }

  Status send(const RankCommand& command) override {
    const std::lock_guard lock(shared_->mutex);
    Status status;
    for (size_t i = 0; i < shared_->ranks.size(); ++i) {
      RankState& rank = shared_->ranks[i];
      if (rank.closed || rank.commands.size() >= kMaxQueued) {
        if (status.ok()) status = gone(i, rank.closed);
        continue;
      }
      if (std::holds_alternative<Shutdown>(command)) rank.told_to_stop = true;
      rank.commands.push_back(command);
      rank.wake.notify_one();
    }
    return status;
  }

  std::optional<RankEvent> receive(int64_t timeout_ns) override {
    std::unique_lock lock(shared_->mutex);
    const auto ready = [this] { return !shared_->events.empty(); };
    if (timeout_ns > 0) {
      shared_->coordinator_wake.wait_for(lock, std::chrono::nanoseconds(timeout_ns), ready);
    }
    if (!ready()) return std::nullopt;
    RankEvent event = std::move(shared_->events.front());
    shared_->events.pop_front();
    return event;
  }

  int event_fd() const override { return -1; }

 private:
  static Error gone(size_t worker_rank, bool closed) {
    return unavailable("rank " + std::to_string(worker_rank) +
                       (closed ? " has closed its link." : " does not read its commands."));
  }

  std::shared_ptr<Shared> shared_;
};

class InprocRankLink final : public RankLink {
 public:
  InprocRankLink(std::shared_ptr<Shared> shared, int worker_rank)
      : shared_(std::move(shared)), worker_rank_(worker_rank) {}
  ~InprocRankLink() override {
    const std::lock_guard lock(shared_->mutex);
    RankState& state = shared_->ranks[static_cast<size_t>(worker_rank_)];
    state.closed = true;
    state.commands.clear();
    if (!state.told_to_stop) {
      shared_->events.emplace_back(
          std::in_place_type<RankFailure>,
          RankFailure{worker_rank_, StepId(0), "link", "the rank has closed its link."});
    }
    shared_->coordinator_wake.notify_one();
  }

  Result<RankCommand> receive() override {
    std::unique_lock lock(shared_->mutex);
    RankState& state = shared_->ranks[static_cast<size_t>(worker_rank_)];
    state.wake.wait(lock, [&] { return !state.commands.empty() || shared_->coordinator_closed; });
    // What was sent before the coordinator went is still delivered: a Shutdown most of all.
    if (state.commands.empty()) return unavailable("the coordinator has closed its link.");
    return take(state);
  }

  Result<std::optional<RankCommand>> poll() override {
    const std::lock_guard lock(shared_->mutex);
    RankState& state = shared_->ranks[static_cast<size_t>(worker_rank_)];
    if (!state.commands.empty()) return std::optional<RankCommand>(take(state));
    if (shared_->coordinator_closed) return unavailable("the coordinator has closed its link.");
    return std::optional<RankCommand>();
  }

  Status send(const RankEvent& event) override {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->coordinator_closed) return unavailable("the coordinator has closed its link.");
    if (shared_->events.size() >= kMaxQueued) {
      return unavailable("the coordinator does not read its ranks' events.");
    }
    shared_->events.push_back(event);
    shared_->coordinator_wake.notify_one();
    return {};
  }

 private:
  // With the mutex held.
  static RankCommand take(RankState& state) {
    RankCommand command = std::move(state.commands.front());
    state.commands.pop_front();
    return command;
  }

  std::shared_ptr<Shared> shared_;
  int worker_rank_;
};

}  // namespace

InprocLinks make_inproc_links(int n_ranks) {
  CHECK_GT(n_ranks, 0);
  auto shared = std::make_shared<Shared>(n_ranks);
  InprocLinks links;
  links.coordinator = std::make_unique<InprocCoordinatorLink>(shared);
  for (int rank = 0; rank < n_ranks; ++rank) {
    links.ranks.push_back(std::make_unique<InprocRankLink>(shared, rank));
  }
  return links;
}

}  // namespace trireme::step
