// The mesh of a worker rank in a replica that mpirun started.
//
// Ranks of one node talk through shared memory of ours (shm/shm_group.h), not through MPI: sums
// keep their rank order, a wait has a deadline, and a rank that waits sleeps. Groups that span
// nodes exchange MPI messages (mpi_group.h) under the same rules. MPI itself only introduces the
// ranks to each other.
//
// Making a mesh is collective over all workers of the job and has no deadline of its own: a rank
// that is lost before its mesh stands is missed by the heartbeats beside MPI.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "parallel/comm/mesh.h"

namespace trireme::comm {

struct MpiMeshOptions {
  int tp = 1;
  int pp = 1;
  int first_world_rank =
      1;  // worker rank w is rank first_world_rank + w of MPI's world; those before are no workers
  bool force_network = false;  // use messages within a node too: for tests of the path across nodes
};

struct MpiMesh {
  Mesh mesh;
  bool tp_in_shared_memory = false;
  bool core_per_rank = false;  // every worker of this node can have a core of its own
};

// MPI has been started (MpiRuntime). `clock` outlives the mesh. failed_precondition when MPI is not
// running, this process is no worker, or the job does not have exactly tp * pp workers.
Result<MpiMesh> make_mpi_mesh_with_facts(const MpiMeshOptions& options, const Clock& clock);
Result<Mesh> make_mpi_mesh(const MpiMeshOptions& options, const Clock& clock);

}  // namespace trireme::comm
