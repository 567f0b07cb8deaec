#include "cli/embedded/embedded_ranks.h"

#include "base/log.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "worker/setup.h"
#include "worker/worker_loop.h"

namespace trireme::cli {
namespace {

void run_rank(const ClusterConfig& config, int replica, const Clock& clock, int worker_rank,
              comm::Mesh mesh, step::RankLink& link) {
  const auto create = [&]() -> Result<std::unique_ptr<worker::Worker>> {
    ASSIGN_OR_RETURN(worker::WorkerOptions options, worker::worker_options(config, worker_rank));
    const int n_taken = replica * config.replicas.tp * config.replicas.pp;
    ASSIGN_OR_RETURN(auto backend, worker::make_backend(config, "this machine", n_taken, mesh));
    ASSIGN_OR_RETURN(comm::Mesh groups, worker::make_device_mesh(config, "this machine", *backend,
                                                                 std::move(mesh), clock));
    return worker::Worker::create(std::move(options), std::move(groups), std::move(backend), clock,
                                  worker::report_progress(link, worker_rank));
  };
  auto rank = create();
  if (!rank.ok()) {
    worker::report_failure(link, worker_rank, StepId(0), "start-up", rank.error());
    return;
  }
  const Status status = worker::run_worker_loop(link, **rank);
  if (!status.ok()) log::error("rank {}: {}", worker_rank, status.error().message);
}

}  // namespace

EmbeddedRanks::EmbeddedRanks(const ClusterConfig& config, int replica, const Clock& clock) {
  const int n_ranks = config.replicas.tp * config.replicas.pp;
  step::InprocLinks links = step::make_inproc_links(n_ranks);
  link_ = std::move(links.coordinator);
  std::vector<comm::Mesh> meshes =
      comm::make_inproc_meshes(config.replicas.tp, config.replicas.pp, clock);
  for (int i = 0; i < n_ranks; ++i) {
    threads_.emplace_back([config, replica, &clock, i, mesh = std::move(meshes[i]),
                           link = std::move(links.ranks[i])]() mutable {
      run_rank(config, replica, clock, i, std::move(mesh), *link);
    });
  }
}

EmbeddedRanks::~EmbeddedRanks() {
  const Status told = link_->send(step::Shutdown{.reason = "the embedded replica ends"});
  if (!told.ok()) log::debug("{}", told.error().message);
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace trireme::cli
