// Meshes whose ranks are threads of this process: for tests and for the embedded form of a replica.
//
// Each mesh is handed to one thread. The ranks share memory through the same engine as processes of
// one node do (shm/shm_group.h), so what holds for one holds for the other. A thread that waits
// spins for two microseconds where every rank can have a core, and sleeps otherwise.
#pragma once

#include <vector>

#include "base/clock.h"
#include "parallel/comm/mesh.h"

namespace trireme::comm {

// [tp * pp] meshes, by worker rank. `clock` outlives them; deadlines are on it. CHECKs tp, pp >= 1.
std::vector<Mesh> make_inproc_meshes(int tp, int pp, const Clock& clock);

}  // namespace trireme::comm
