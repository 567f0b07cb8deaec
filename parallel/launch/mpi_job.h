// MpiJob: this process as a rank of its replica's MPI job. Rank 0 is the coordinator, ranks 1.. are the workers.
//
// MPI starts the ranks and carries the workers' collectives (parallel/comm/mpi). Plans, results and heartbeats go over the
// step link, whose address rank 0 tells the others here. Called from the main thread only.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "parallel/comm/mesh.h"

namespace trireme::launch {

class MpiJob {
 public:
  // failed_precondition when the process was not started by mpirun as the configuration wants it.
  static Result<std::unique_ptr<MpiJob>> start(int* argc, char*** argv);
  virtual ~MpiJob() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Rank 0's text to every rank. At most 1 MiB.
  virtual Result<std::string> broadcast_from_coordinator(const std::string& text) = 0;
  // Collective over all ranks; the coordinator gets nullptr groups. size() must be tp * pp + 1.
  virtual Result<comm::Mesh> make_worker_mesh(int tp, int pp, const Clock& clock) = 0;
  // Leaves the job in good order: every rank must call it.
  virtual void finalize() = 0;
};

}  // namespace trireme::launch
