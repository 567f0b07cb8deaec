#include "parallel/wire/step_heartbeat.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace trireme::wire {
namespace {

constexpr std::string_view kBeat = "beat 1";
constexpr std::string_view kIdPrefix = "rank-";

// A thread that did not run itself for so long may not call others silent: it hears them out first.
int64_t own_stall_ns(const HeartbeatTimes& times) {
  return std::max(times.dead_ns / 2, 2 * times.interval_ns);
}

double seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

}  // namespace

std::string rank_routing_id(int worker_rank) { return fmt::format("{}{}", kIdPrefix, worker_rank); }

int rank_of_routing_id(const std::string& id, int n_ranks) {
  if (!id.starts_with(kIdPrefix)) return -1;
  int rank = -1;
  const char* end = id.data() + id.size();
  const auto [stop, error] = std::from_chars(id.data() + kIdPrefix.size(), end, rank);
  const bool good = error == std::errc() && stop == end && rank >= 0 && rank < n_ranks;
  return good ? rank : -1;
}

int64_t closed_grace_ns(const HeartbeatTimes& times) {
  return std::min(times.dead_ns, std::max<int64_t>(2 * times.interval_ns, 300'000'000));
}

CoordinatorHeartbeat::CoordinatorHeartbeat(ZmqSocket socket, int n_ranks,
                                           const HeartbeatTimes& times,
                                           std::function<void(step::RankFailure)> on_failure)
    : times_(times),
      on_failure_(std::move(on_failure)),
      socket_(std::move(socket)),
      ranks_(static_cast<size_t>(n_ranks)) {
  thread_ = std::thread([this] { run(); });
}

CoordinatorHeartbeat::~CoordinatorHeartbeat() {
  stopping_ = true;
  stop_.signal();
  thread_.join();
}

void CoordinatorHeartbeat::run() {
  const int socket_fd = get_int(socket_.get(), ZMQ_FD);
  start_ns_ = monotonic_ns();
  int64_t next_beat_ns = start_ns_;
  int64_t last_turn_ns = start_ns_;
  while (!stopping_) {
    int64_t now_ns = monotonic_ns();
    if (now_ns - last_turn_ns > own_stall_ns(times_)) {
      for (Rank& rank : ranks_) rank.heard_ns = rank.heard_ns == 0 ? 0 : now_ns;
    }
    last_turn_ns = now_ns;
    listen(now_ns);
    if (now_ns >= next_beat_ns) {
      beat(now_ns);
      listen(now_ns);  // a send may swallow the socket's edge
      next_beat_ns = now_ns + times_.interval_ns;
    }
    judge(now_ns);
    wait_readable({socket_fd, stop_.fd()}, std::max<int64_t>(next_beat_ns - monotonic_ns(), 0));
  }
}

void CoordinatorHeartbeat::listen(int64_t now_ns) {
  while (const std::optional<Frames> frames = receive_frames(socket_.get(), 2)) {
    if (frames->n_parts != 2 || frames->parts[1] != kBeat) continue;
    const int index = rank_of_routing_id(frames->parts[0], static_cast<int>(ranks_.size()));
    if (index < 0) continue;
    Rank& rank = ranks_[static_cast<size_t>(index)];
    const bool first = rank.heard_ns == 0;
    rank.heard_ns = now_ns;
    if (first) send_beat(index, now_ns);  // it waits for this one
  }
}

void CoordinatorHeartbeat::send_beat(int index, int64_t now_ns) {
  Rank& rank = ranks_[static_cast<size_t>(index)];
  const SendOutcome outcome = send_to_peer(socket_.get(), rank_routing_id(index), kBeat);
  if (outcome != SendOutcome::kNoPeer) {
    rank.closed_ns = 0;
  } else if (rank.closed_ns == 0) {
    rank.closed_ns = now_ns;
  }
}

void CoordinatorHeartbeat::beat(int64_t now_ns) {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].heard_ns != 0) send_beat(static_cast<int>(i), now_ns);
  }
}

void CoordinatorHeartbeat::judge(int64_t now_ns) {
  if (vigil_ends_) return;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const Rank& rank = ranks_[i];
    if (rank.failed) continue;
    const int index = static_cast<int>(i);
    if (rank.heard_ns == 0) {
      if (now_ns - start_ns_ > times_.join_ns) {
        fail(index, fmt::format("rank {} did not connect within {:.1f} s", index,
                                seconds(times_.join_ns)));
      }
    } else if (now_ns - rank.heard_ns > times_.dead_ns) {
      fail(index, fmt::format("rank {} was not heard for {:.1f} s", index,
                              seconds(now_ns - rank.heard_ns)));
    } else if (rank.closed_ns != 0 && now_ns - rank.closed_ns > closed_grace_ns(times_)) {
      fail(index, fmt::format("rank {} closed its connection: its process ended", index));
    }
  }
}

void CoordinatorHeartbeat::fail(int index, std::string message) {
  ranks_[static_cast<size_t>(index)].failed = true;
  on_failure_(
      {.worker_rank = index, .step = StepId(0), .op = "heartbeat", .message = std::move(message)});
}

RankHeartbeat::RankHeartbeat(ZmqSocket socket, const HeartbeatTimes& times,
                             std::function<void(const Error&)> on_lost)
    : times_(times),
      on_lost_(std::move(on_lost)),
      socket_(std::move(socket)),
      first_beat_heard_(first_beat_.get_future()) {
  thread_ = std::thread([this] { run(); });
}

RankHeartbeat::~RankHeartbeat() {
  stopping_ = true;
  stop_.signal();
  thread_.join();
}

bool RankHeartbeat::wait_heard(int64_t timeout_ns) {
  return first_beat_heard_.wait_for(std::chrono::nanoseconds(timeout_ns)) ==
         std::future_status::ready;
}

void RankHeartbeat::run() {
  const int socket_fd = get_int(socket_.get(), ZMQ_FD);
  int64_t next_beat_ns = 0;
  int64_t last_turn_ns = monotonic_ns();
  while (!stopping_) {
    const int64_t now_ns = monotonic_ns();
    if (now_ns - last_turn_ns > own_stall_ns(times_) && heard_ns_ != 0) heard_ns_ = now_ns;
    last_turn_ns = now_ns;
    listen(now_ns);
    if (now_ns >= next_beat_ns) {
      const bool sent = send_frame(socket_.get(), kBeat) == SendOutcome::kSent;
      if (sent) {
        closed_ns_ = 0;
      } else if (closed_ns_ == 0) {
        closed_ns_ = now_ns;
      }
      listen(now_ns);
      // The first beats knock until somebody opens; the coordinator answers the first one at once.
      const int64_t knock_ns = std::min<int64_t>(times_.interval_ns, 20'000'000);
      next_beat_ns = now_ns + (heard_ns_ == 0 ? knock_ns : times_.interval_ns);
    }
    judge(now_ns);
    wait_readable({socket_fd, stop_.fd()}, std::max<int64_t>(next_beat_ns - monotonic_ns(), 0));
  }
}

void RankHeartbeat::listen(int64_t now_ns) {
  while (const std::optional<Frames> frames = receive_frames(socket_.get(), 1)) {
    if (frames->n_parts != 1 || frames->parts[0] != kBeat) continue;
    if (heard_ns_ == 0) first_beat_.set_value();
    heard_ns_ = now_ns;
  }
}

void RankHeartbeat::judge(int64_t now_ns) {
  if (vigil_ends_ || heard_ns_ == 0) return;
  std::string why;
  if (now_ns - heard_ns_ > times_.dead_ns) {
    why = fmt::format("the coordinator was not heard for {:.1f} s", seconds(now_ns - heard_ns_));
  } else if (closed_ns_ != 0 && now_ns - closed_ns_ > closed_grace_ns(times_)) {
    why = "the coordinator closed the connection: its process ended";
  }
  if (why.empty()) return;
  vigil_ends_ = true;  // said once
  on_lost_(unavailable(why));
}

}  // namespace trireme::wire
