// The heartbeat threads of the step link, one per end. Internal to this folder.
//
// Both end by their destructor. Callbacks run on the thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "parallel/step/step_link.h"
#include "parallel/wire/wake_fd.h"
#include "parallel/wire/zmq_socket.h"

namespace trireme::wire {

// The routing id of a rank on both sockets: "rank-3".
std::string rank_routing_id(int worker_rank);
// The rank of a routing id, or -1.
int rank_of_routing_id(const std::string& id, int n_ranks);

struct HeartbeatTimes {
  int64_t interval_ns = 0;
  int64_t dead_ns = 0;
  int64_t join_ns = 0;  // until the first beat is heard
};

// Is a connection that was closed gone for good? A peer that lives dials again within milliseconds.
int64_t closed_grace_ns(const HeartbeatTimes& times);

// The coordinator's end: answers ranks and watches them.
class CoordinatorHeartbeat {
 public:
  // `socket`: a bound ROUTER with ROUTER_MANDATORY.
  CoordinatorHeartbeat(ZmqSocket socket, int n_ranks, const HeartbeatTimes& times,
                       std::function<void(step::RankFailure)> on_failure);
  ~CoordinatorHeartbeat();
  // From now on nobody's silence is a failure. Thread-safe.
  void end_vigil() { vigil_ends_ = true; }

 private:
  struct Rank {
    int64_t heard_ns = 0;   // 0: never
    int64_t closed_ns = 0;  // since when its connection is closed; 0: it is not
    bool failed = false;
  };
  void run();
  void listen(int64_t now_ns);
  void beat(int64_t now_ns);
  void judge(int64_t now_ns);
  void send_beat(int rank, int64_t now_ns);
  void fail(int rank, std::string message);

  const HeartbeatTimes times_;
  const std::function<void(step::RankFailure)> on_failure_;
  ZmqSocket socket_;
  std::vector<Rank> ranks_;
  int64_t start_ns_ = 0;
  WakeFd stop_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> vigil_ends_{false};
  std::thread thread_;
};

// A rank's end.
class RankHeartbeat {
 public:
  // `socket`: a connected DEALER with ZMQ_IMMEDIATE.
  RankHeartbeat(ZmqSocket socket, const HeartbeatTimes& times,
                std::function<void(const Error&)> on_lost);
  ~RankHeartbeat();
  // Whether the coordinator was heard within timeout_ns of now.
  bool wait_heard(int64_t timeout_ns);
  void end_vigil() { vigil_ends_ = true; }

 private:
  void run();
  void listen(int64_t now_ns);
  void judge(int64_t now_ns);

  const HeartbeatTimes times_;
  const std::function<void(const Error&)> on_lost_;
  ZmqSocket socket_;
  int64_t heard_ns_ = 0;   // 0: never
  int64_t closed_ns_ = 0;  // since when there is no connection; 0: there is one
  std::promise<void> first_beat_;
  std::future<void> first_beat_heard_;
  WakeFd stop_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> vigil_ends_{false};
  std::thread thread_;
};

}  // namespace trireme::wire
