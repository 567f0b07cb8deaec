// Mesh: the groups of one worker rank in a replica of tp x pp ranks.
//
// worker_rank = stage * tp + tp_rank: the ranks of a stage are neighbours, so that a tp group stays inside a node.
#pragma once

#include <memory>

#include "parallel/comm/group.h"

namespace trireme::comm {

struct Mesh {
  int worker_rank = 0;            // 0 <= worker_rank < tp * pp
  std::unique_ptr<Group> tp;      // ranks of this stage
  std::unique_ptr<Group> pp;      // this tp rank's column through the stages; rank() is the stage
  std::unique_ptr<Group> world;   // all workers of the replica: step agreement

  int tp_rank() const { return tp->rank(); }
  int stage() const { return pp->rank(); }
};

}  // namespace trireme::comm
