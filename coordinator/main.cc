// trireme-coordinator: rank 0 of a replica's MPI job. Its ranks 1.. are trireme-worker.
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/cluster_config.h"
#include "base/log.h"
#include "coordinator/replica_loop.h"
#include "parallel/launch/mpi_job.h"
#include "parallel/launch/process_guard.h"
#include "parallel/launch/resolve_config.h"
#include "parallel/wire/curve_keys.h"
#include "parallel/wire/zmq_step_link.h"

namespace trireme::coordinator {
namespace {

struct Arguments {
  std::string config_path;
  int replica = 0;
};

// These become readable here: mpirun sends the first when it ends the job, and passes on the second
// from whoever wants it to end.
int make_stop_fd() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, launch::kLeaveSignal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

// For `trireme serve`, which reads this process's stdout.
void print_load(int64_t done, int64_t total) {
  std::printf("@load %lld %lld\n", static_cast<long long>(done), static_cast<long long>(total));
  std::fflush(stdout);
}

Status run_replica(const ClusterConfig& config, const Arguments& arguments, launch::MpiJob& job,
                   int stop_fd, const Clock& clock) {
  ReplicaLoopOptions options;
  options.started_ns = clock.now_ns();
  options.epoch = static_cast<uint64_t>(clock.unix_ns());
  options.replica = arguments.replica;
  options.stop_fd = stop_fd;
  options.on_load = print_load;
  ASSIGN_OR_RETURN(options.spec, plan::load_model_spec(config.model.path));
  ASSIGN_OR_RETURN(options.plan,
                   plan::make_parallel_plan(options.spec, plan::parallel_options(config.replicas)));
  if (config.router.curve) {
    ASSIGN_OR_RETURN(const wire::KeyRing keys, wire::load_or_create_keys(config.state_dir));
    options.curve = keys.client;
  }
  options.config = config;

  wire::CoordinatorLinkOptions link_options;
  link_options.n_ranks = config.replicas.tp * config.replicas.pp;
  link_options.heartbeat_ns = config.scheduler.idle_heartbeat_ns;
  link_options.dead_ns = config.scheduler.rank_dead_ns;
  // With other hosts in the job, ranks dial this one by its name.
  if (!config.replicas.hosts.empty()) {
    link_options.bind_host = "0.0.0.0";
    link_options.advertise_host = launch::host_name();
  }
  ASSIGN_OR_RETURN(const wire::BoundCoordinatorLink bound,
                   wire::bind_coordinator_link(link_options));
  const auto told = job.broadcast_from_coordinator(bound.address.to_string());
  if (!told.ok()) return told.error();

  MetricsRegistry metrics;
  ASSIGN_OR_RETURN(auto loop, ReplicaLoop::create(std::move(options), clock, *bound.link, metrics));
  ASSIGN_OR_RETURN(
      auto server,
      MetricsServer::start("127.0.0.1", config.replicas.metrics_port + arguments.replica, metrics));
  const Status status = loop->run();
  // Stopping its thread takes up to two seconds (civetweb polls); the process ends before.
  (void)server.release();
  return status;
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"The coordinator of a replica; mpirun starts it.", "trireme-coordinator"};
  app.add_option("CONFIG.yaml", arguments.config_path)->required();
  app.add_option("--replica", arguments.replica, "index of the replica");
  CLI11_PARSE(app, argc, argv);

  auto config = load_cluster_config(arguments.config_path);
  if (config.ok()) {
    if (const Status resolved = launch::resolve_config(*config); !resolved.ok())
      config = resolved.error();
  }
  if (!config.ok()) {
    std::fprintf(stderr, "error: %s\n", config.error().message.c_str());
    return launch::kExitBadConfig;
  }
  log::init({.level = log::level_of(config->log.level),
             .format = config->log.format == "json" ? log::Format::kJson : log::Format::kText,
             .component = "replica-" + std::to_string(arguments.replica)});
  // Before any thread is made, so that every thread has the signal blocked.
  const int stop_fd = make_stop_fd();
  auto job = launch::MpiJob::start(config->replicas.tp * config->replicas.pp);
  if (!job.ok()) {
    std::fprintf(stderr, "error: %s\n", job.error().message.c_str());
    return launch::kExitBadConfig;
  }
  const launch::ParentWatch watch(
      [] { launch::end_process_group("mpirun is gone", launch::kExitPeerLost); });
  SystemClock clock;
  const Status status = run_replica(*config, arguments, **job, stop_fd, clock);
  // Told to stop: mpirun may be ending every rank by signal, so there is nobody to leave MPI with.
  if (status.ok()) std::_Exit(0);
  launch::end_process_group(status.error().message, launch::exit_code_for(status.error()));
}

}  // namespace
}  // namespace trireme::coordinator

int main(int argc, char** argv) { return trireme::coordinator::run(argc, argv); }
