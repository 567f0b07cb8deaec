// trireme-worker: one rank of a replica, started by mpirun beside its coordinator.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/cluster_config.h"
#include "base/log.h"
#include "parallel/launch/host_assignment.h"
#include "parallel/launch/mpi_job.h"
#include "parallel/launch/process_guard.h"
#include "parallel/launch/resolve_config.h"
#include "parallel/wire/zmq_step_link.h"
#include "worker/setup.h"
#include "worker/worker_loop.h"

namespace trireme::worker {
namespace {

struct Arguments {
  std::string config_path;
  int replica = 0;
};

// Everything after MPI is up. An error has been told to the coordinator, as far as it could be.
Status run_rank(const ClusterConfig& config, int replica, launch::MpiJob& job, const Clock& clock) {
  const int worker_rank = job.rank() - 1;
  ASSIGN_OR_RETURN(const std::string address_text, job.broadcast_from_coordinator(""));
  ASSIGN_OR_RETURN(const wire::StepLinkAddress address, wire::StepLinkAddress::parse(address_text));
  wire::RankLinkOptions link_options;
  link_options.heartbeat_ns = config.scheduler.idle_heartbeat_ns;
  link_options.dead_ns = config.scheduler.rank_dead_ns;
  link_options.on_lost = [](const Error& error) {
    launch::end_process_group(error.message, launch::kExitPeerLost);
  };
  ASSIGN_OR_RETURN(auto link, wire::connect_rank_link(address, worker_rank, link_options));
  ASSIGN_OR_RETURN(comm::Mesh mesh,
                   job.make_worker_mesh(config.replicas.tp, config.replicas.pp, clock));

  const auto create = [&]() -> Result<std::unique_ptr<Worker>> {
    ASSIGN_OR_RETURN(WorkerOptions options, worker_options(config, worker_rank));
    options.machine = launch::host_name();
    ASSIGN_OR_RETURN(const int n_taken, launch::n_earlier_ranks(config, replica, worker_rank));
    ASSIGN_OR_RETURN(auto backend, make_backend(config, launch::host_name(), n_taken, mesh));
    ASSIGN_OR_RETURN(comm::Mesh groups, make_device_mesh(config, launch::host_name(), *backend,
                                                         std::move(mesh), clock));
    return Worker::create(std::move(options), std::move(groups), std::move(backend), clock,
                          report_progress(*link, worker_rank));
  };
  auto worker = create();
  if (!worker.ok()) {
    report_failure(*link, worker_rank, StepId(0), "start-up", worker.error());
    return worker.error();
  }
  return run_worker_loop(*link, **worker);
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"One rank of a replica; mpirun starts it.", "trireme-worker"};
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
  auto job = launch::MpiJob::start(config->replicas.tp * config->replicas.pp);
  if (!job.ok()) {
    std::fprintf(stderr, "error: %s\n", job.error().message.c_str());
    return launch::kExitBadConfig;
  }
  log::init({.level = log::level_of(config->log.level),
             .format = config->log.format == "json" ? log::Format::kJson : log::Format::kText,
             .component = "replica-" + std::to_string(arguments.replica) + " rank " +
                          std::to_string((*job)->rank() - 1)});
  const launch::ParentWatch watch(
      [] { launch::end_process_group("mpirun is gone", launch::kExitPeerLost); });
  SystemClock clock;
  const Status status = run_rank(*config, arguments.replica, **job, clock);
  // The coordinator said to stop, and mpirun is ending every rank: there is nobody to leave MPI
  // with.
  if (status.ok()) std::_Exit(0);
  launch::end_process_group(status.error().message, launch::exit_code_for(status.error()));
}

}  // namespace
}  // namespace trireme::worker

int main(int argc, char** argv) { return trireme::worker::run(argc, argv); }
