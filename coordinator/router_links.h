// RouterLinks: a replica's connections to all its routers, and who is greeted, alive or lost. One
// thread, the replica's loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/cluster_config.h"
#include "base/result.h"
#include "coordinator/coordinator.h"
#include "parallel/wire/endpoints.h"

namespace trireme::coordinator {

class RouterLinks final : public RouterSink {
 public:
  static Result<std::unique_ptr<RouterLinks>> connect(
      const RouterConfig& config, const std::optional<wire::CurveClient>& curve);

  // What the Hello says, from now on: the replica is ready. Greets every router.
  void announce(wire::Hello hello, int64_t now_ns);
  // Hands all that routers have said to the coordinator, and to it the loss of the silent ones.
  Status receive(Coordinator& coordinator, int64_t now_ns);
  // Heartbeats with the load when they are due; the ledger once a second.
  void beat(const Coordinator& coordinator, int64_t now_ns);
  int64_t next_beat_ns() const { return next_beat_ns_; }
  void say_goodbye(const std::string& reason);

  void publish(RouterId router, wire::TokenBatch& batch) override;
  std::vector<int> event_fds() const;

 private:
  struct Link {
    std::unique_ptr<wire::ReplicaEndpoint> endpoint;
    uint64_t epoch = 0;         // as it welcomed us
    int64_t last_heard_ns = 0;  // 0: never, or lost
  };

  explicit RouterLinks(const RouterConfig& config) : config_(config) {}
  Status handle(Coordinator& coordinator, size_t index, wire::FromRouter message);
  void send(size_t index, const wire::FromReplica& message);

  const RouterConfig config_;
  std::vector<Link> links_;
  std::optional<wire::Hello> hello_;
  int64_t next_beat_ns_ = INT64_MAX;
  int64_t next_ledger_ns_ = 0;
};

}  // namespace trireme::coordinator
