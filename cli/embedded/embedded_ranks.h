// EmbeddedRanks: the worker ranks of a replica as threads of this process, with inproc collectives
// and links.
//
// The library form of a replica: together with a Coordinator (or a ReplicaLoop) in the same process
// it is what mpirun starts as tp x pp + 1 processes. Tests and `trireme serve --collective inproc`
// use it. It runs the production executor and differs from the processes in its transports alone.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "base/result.h"
#include "parallel/step/step_link.h"

namespace trireme::cli {

class EmbeddedRanks {
 public:
  // Starts a thread per rank; each loads its weights, says RankReady on its link and obeys. `clock`
  // outlives the ranks. `replica`: earlier ones have their devices, in processes of their own.
  EmbeddedRanks(const ClusterConfig& config, int replica, const Clock& clock);
  // Ends the ranks: a Shutdown, then the join.
  ~EmbeddedRanks();
  EmbeddedRanks(const EmbeddedRanks&) = delete;
  EmbeddedRanks& operator=(const EmbeddedRanks&) = delete;

  // The coordinator's end; lives as long as the ranks.
  step::CoordinatorLink& link() { return *link_; }

 private:
  std::unique_ptr<step::CoordinatorLink> link_;
  std::vector<std::thread> threads_;
};

}  // namespace trireme::cli
