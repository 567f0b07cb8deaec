// Mesh: the groups of one worker rank in a replica of tp x pp ranks.
//
// worker_rank = stage * tp + tp_rank: the ranks of a stage are neighbours, so that a tp group stays
// inside a node. Where the groups work on a device's memory, the mesh over the host's memory that
// they were started over stays beside them: what ranks tell each other from host to host (headers,
// candidates) does not queue behind a device's work.
#pragma once

#include <memory>
#include <string_view>

#include "parallel/comm/group.h"

namespace trireme::comm {

struct Mesh {
  int worker_rank = 0;           // 0 <= worker_rank < tp * pp
  std::unique_ptr<Group> tp;     // ranks of this stage
  std::unique_ptr<Group> pp;     // this tp rank's column through the stages; rank() is the stage
  std::unique_ptr<Group> world;  // all workers of the replica: step agreement
  // The same ranks over host memory, where the groups above are a device's; else nullptr.
  std::unique_ptr<Mesh> host;

  int tp_rank() const { return tp->rank(); }
  int stage() const { return pp->rank(); }
  // Over host memory, or nullptr.
  Group* host_tp() const { return host != nullptr ? host->tp.get() : nullptr; }
  Group* host_pp() const { return host != nullptr ? host->pp.get() : nullptr; }
  Group* host_world() const { return host != nullptr ? host->world.get() : nullptr; }
  // Of every group that there is, those over host memory too. Any thread.
  void abort(std::string_view reason) {
    for (Group* group : {tp.get(), pp.get(), world.get()}) {
      if (group != nullptr) group->abort(reason);
    }
    if (host != nullptr) host->abort(reason);
  }
};

}  // namespace trireme::comm
