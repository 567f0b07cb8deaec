// Router: one router process's parts, wired together on one event loop.
//
// The API port, the admin port and the wire endpoint all wake the same thread, which owns all
// state. SIGTERM or SIGINT drains: no new connection or request, streams may finish within
// drain_ns, then run() returns; a second signal ends at once.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "base/metrics.h"
#include "base/result.h"
#include "parallel/wire/endpoints.h"
#include "router/http/event_loop.h"

namespace trireme::router {

struct ServedModel;

struct RouterOptions {
  int index = 0;               // router i uses port + i
  bool handle_signals = true;  // SIGTERM and SIGINT; a test stops it by drain() or stop()
  std::optional<wire::CurveServer> curve;
};

class Router {
 public:
  // Binds everything. already_exists: a port is taken; invalid_argument: a configuration that
  // cannot be served, such as no keys on an address that others can reach. `config` and `clock`
  // must outlive the router.
  static Result<std::unique_ptr<Router>> create(const ClusterConfig& config, ServedModel model,
                                                const RouterOptions& options, const Clock& clock);
  ~Router();

  void run();    // until drained or stopped
  void drain();  // thread-safe
  void stop();   // thread-safe: at once

  int port() const;
  int admin_port() const;
  std::string wire_address() const;

 private:
  struct Impl;
  explicit Router(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::router
