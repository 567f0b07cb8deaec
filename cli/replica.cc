// `trireme replica`: a whole replica in one process, ranks as threads. `trireme serve --collective
// inproc` starts it.
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/cluster_config.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/embedded/embedded_ranks.h"
#include "cli/usage_error.h"
#include "coordinator/replica_loop.h"
#include "parallel/launch/process_guard.h"
#include "parallel/wire/curve_keys.h"

namespace trireme::cli {
namespace {

Status run(const ClusterConfig& config, int replica, int stop_fd) {
  SystemClock clock;
  coordinator::ReplicaLoopOptions options;
  options.started_ns = clock.now_ns();
  options.epoch = static_cast<uint64_t>(clock.unix_ns());
  options.replica = replica;
  options.stop_fd = stop_fd;
  options.config = config;
  options.on_load = [](int64_t done, int64_t total) {
    std::printf("@load %lld %lld\n", static_cast<long long>(done), static_cast<long long>(total));
    std::fflush(stdout);
  };
  ASSIGN_OR_RETURN(options.spec, plan::load_model_spec(config.model.path));
  ASSIGN_OR_RETURN(options.plan,
                   plan::make_parallel_plan(options.spec, plan::parallel_options(config.replicas)));
  if (config.router.curve) {
    ASSIGN_OR_RETURN(const wire::KeyRing keys, wire::load_or_create_keys(config.state_dir));
    options.curve = keys.client;
  }
  EmbeddedRanks ranks(config, replica, clock);
  MetricsRegistry metrics;
  ASSIGN_OR_RETURN(auto loop, coordinator::ReplicaLoop::create(std::move(options), clock,
                                                               ranks.link(), metrics));
  ASSIGN_OR_RETURN(auto server, MetricsServer::start(
                                    "127.0.0.1", config.replicas.metrics_port + replica, metrics));
  const Status status = loop->run();
  // Stopping its thread takes up to two seconds (civetweb polls); the process ends before.
  (void)server.release();
  return status;
}

}  // namespace

int run_replica(int argc, char** argv) {
  std::string config_path;
  int replica = 0;
  CLI::App app{"A whole replica in one process; `trireme serve --collective inproc` starts it.",
               "trireme replica"};
  app.add_option("CONFIG.yaml", config_path)->required();
  app.add_option("--replica", replica, "index of the replica");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  auto config = load_cluster_config(config_path);
  if (!config.ok()) {
    std::fprintf(stderr, "error: %s\n", config.error().message.c_str());
    return launch::kExitBadConfig;
  }
  log::init({.level = log::level_of(config->log.level),
             .format = config->log.format == "json" ? log::Format::kJson : log::Format::kText,
             .component = "replica-" + std::to_string(replica)});
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int stop_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  const launch::ParentWatch watch(
      [] { launch::end_process_group("the supervisor is gone", launch::kExitPeerLost); });
  const Status status = run(*config, replica, stop_fd);
  if (!status.ok()) std::fprintf(stderr, "error: %s\n", status.error().message.c_str());
  // At once: a thread still serves metrics.
  std::_Exit(status.ok() ? 0 : 1);
}

}  // namespace trireme::cli
