// The step link over ZeroMQ: how a coordinator's process and its ranks' processes talk
// (parallel/step/step_link.h).
//
// Two sockets per process, both with CURVE under keys that are made for the job and never touch a
// disk: one for plans and results, owned by the callers of the link; one for heartbeats, owned by a
// thread of the link, so that a rank deep in a kernel or a collective still beats and a stopped one
// does not. Who is not heard for dead_ns, or whose connection is closed for two heartbeats and not
// made again, is lost:
//   a rank         -> the coordinator's receive() returns a RankFailure that names it, once;
//   a coordinator  -> on_lost is called on the heartbeat thread, where the process ends itself even
//   while its main thread sits
//                     in a collective, and receive() returns unavailable.
// A Shutdown ends the vigil on both sides. The coordinator's end belongs to one thread; see
// RankLink for the other's. Costs: a plan to a rank and its answer take two trips through the
// kernel's sockets each; waiting never spins.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/cluster_config.h"
#include "base/result.h"
#include "parallel/step/step_link.h"

namespace trireme::wire {

// Where a coordinator listens and the keys of its job. to_string() is what the launcher broadcasts
// to the ranks: one line of at most 1 KiB. It holds the job's secret: it goes over MPI, never to a
// log, a file or a command line.
struct StepLinkAddress {
  std::string data_endpoint;
  std::string heartbeat_endpoint;
  std::string server_public_key;
  std::string client_public_key;
  std::string client_secret_key;

  std::string to_string() const;
  static Result<StepLinkAddress> parse(std::string_view text);
};

struct CoordinatorLinkOptions {
  int n_ranks = 0;
  // An address of this machine that the ranks reach; any free ports. Empty: Unix sockets, for ranks
  // on this machine only.
  std::string bind_host = "127.0.0.1";
  std::string
      advertise_host;  // what the ranks dial when it is not bind_host, such as behind "0.0.0.0"
  int64_t heartbeat_ns = 500 * kMillisecondNs;
  int64_t dead_ns = 5 * kSecondNs;
  int64_t join_ns = 60 * kSecondNs;  // a rank that was never heard by then is a RankFailure too
};

struct BoundCoordinatorLink {
  std::unique_ptr<step::CoordinatorLink> link;
  StepLinkAddress address;
};

// The link's event_fd() turns readable when there may be an event: then receive(0) until nullopt.
Result<BoundCoordinatorLink> bind_coordinator_link(const CoordinatorLinkOptions& options);

struct RankLinkOptions {
  int64_t heartbeat_ns = 500 * kMillisecondNs;
  int64_t dead_ns = 5 * kSecondNs;
  int64_t connect_timeout_ns = 30 * kSecondNs;
  // Called once, on the heartbeat thread, with why, before receive() returns. It ends the process
  // or returns soon, and does not destroy the link.
  std::function<void(const Error&)> on_lost;
};

// Returns when the coordinator is heard; unavailable when it is not within connect_timeout_ns
// (wrong address or key).
Result<std::unique_ptr<step::RankLink>> connect_rank_link(const StepLinkAddress& address,
                                                          int worker_rank,
                                                          const RankLinkOptions& options);

}  // namespace trireme::wire
