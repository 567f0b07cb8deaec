// MpiJob: this process as a rank of its replica's MPI job. Rank 0 is the coordinator, ranks 1.. are
// the workers.
//
// MPI starts the ranks and introduces the workers to each other (parallel/comm/mpi). Plans, results
// and heartbeats go over the step link, whose address rank 0 tells the others here. Called from the
// main thread only.
#pragma once

#include <csignal>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "parallel/comm/mesh.h"

namespace trireme::launch {

// Asks a job to end in good order. Sent to mpirun, which passes it on to every rank at once, where
// of a SIGTERM it only wakes them, sleeps for a second and then ends them one by one. The
// coordinator takes it as it takes SIGTERM; workers ignore it and end when the coordinator says so.
inline constexpr int kLeaveSignal = SIGUSR1;

class MpiJob {
 public:
  // failed_precondition when the job has not 1 + n_workers ranks: it was not started as the
  // configuration says.
  static Result<std::unique_ptr<MpiJob>> start(int n_workers);
  virtual ~MpiJob() = default;

  virtual int rank() const = 0;
  // Collective over all ranks: rank 0's text, at most 1 MiB.
  virtual Result<std::string> broadcast_from_coordinator(const std::string& text) = 0;
  // Collective over the workers.
  virtual Result<comm::Mesh> make_worker_mesh(int tp, int pp, const Clock& clock) = 0;
  // The job ends by signals or failed: MPI is not left in good order, since that waits for every
  // rank.
  virtual void abandon() = 0;
};

}  // namespace trireme::launch
