// ReplicaLoop: the one thread of a coordinator process. It waits on the ranks' link, the routers'
// endpoints and the clock, hands what came to the Coordinator, and sends what that says.
//
// The replica dials every router and, once its ranks are ready, announces itself to each: with
// Hello, again whenever a router says HelloAgain, with heartbeats that carry its load, and with its
// ledger once a second. A router that is unheard for replica_dead_ns is lost: its requests are
// cancelled, and it is greeted again when it comes back. A loop that was stopped for longer than
// its ranks wait for it says nothing to routers until the link has had the time to tell whether
// they have ended: mpirun wakes a stopped process before it ends it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "base/metrics.h"
#include "coordinator/coordinator.h"
#include "coordinator/router_links.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "parallel/step/step_link.h"
#include "parallel/wire/endpoints.h"

namespace trireme::coordinator {

struct ReplicaLoopOptions {
  ClusterConfig config;
  plan::ModelSpec spec;
  plan::ParallelPlan plan;
  int replica = 0;         // its index
  uint64_t epoch = 0;      // of this start
  int64_t started_ns = 0;  // monotonic, of the process's start
  std::optional<wire::CurveClient> curve;
  int stop_fd = -1;  // readable: leave in good order (a signalfd); -1: none
  // Bytes of weights read and in all, over all ranks. Called as they load.
  std::function<void(int64_t done, int64_t total)> on_load;
};

class ReplicaLoop {
 public:
  // The references outlive the loop.
  static Result<std::unique_ptr<ReplicaLoop>> create(ReplicaLoopOptions options, const Clock& clock,
                                                     step::CoordinatorLink& link,
                                                     MetricsRegistry& metrics);
  ~ReplicaLoop();

  // Runs until stop_fd is readable (success: routers have been told goodbye, ranks to shut down) or
  // the replica is lost (the error names the rank, step and op as far as they are known; routers
  // have been told goodbye).
  Status run();

 private:
  ReplicaLoop(ReplicaLoopOptions options, const Clock& clock, step::CoordinatorLink& link);

  Status take_rank_events();
  Status announce();
  void notice_stop(int64_t now_ns);
  bool quiet(int64_t now_ns) const { return now_ns < quiet_until_ns_; }
  void wait(int64_t now_ns);
  bool stop_asked() const;
  void leave(const std::string& reason);

  const ReplicaLoopOptions options_;
  const Clock& clock_;
  step::CoordinatorLink& link_;
  std::unique_ptr<RouterLinks> routers_;
  std::unique_ptr<Coordinator> coordinator_;
  std::vector<step::LoadProgress> load_;  // by rank
  std::string device_;                    // of the ranks, once known
  bool announced_ = false;
  int64_t last_turn_ns_ = 0;    // when the loop last came round; 0: it has not begun
  int64_t quiet_until_ns_ = 0;  // until then, nothing is read from routers or said to them
};

}  // namespace trireme::coordinator
