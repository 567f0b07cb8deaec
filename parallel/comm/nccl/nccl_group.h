// Groups over NCCL: the collectives of ranks that have a GPU each.
//
// Tensors are on the calling thread's device. A sum, an exchange or an all_gather_enqueued is
// enqueued and returns; every other operation returns when it has happened. A watcher thread looks
// after what is enqueued: past an operation's deadline, or on an error of NCCL's own, it aborts the
// communicator, so that the device goes on and the rank's thread is free again, and the next call
// returns the error, which names rank, step and the first operation that was not done. Results
// enqueued before such an error are worth nothing, and an operation that waits says so before they
// are used.
//
// Sums are in NCCL's order: the same bits on every rank of the group and for every run of one
// shape, not in rank order as on the host (for that: rank_order/). `abort` ends this rank's part;
// the others' watchers find it at their deadlines, or their processes end with the replica's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "parallel/comm/exchanging_group.h"
#include "parallel/comm/mesh.h"
#include "parallel/comm/one_shot/one_shot_choice.h"

namespace trireme::comm {

struct NcclGroupOptions {
  std::string name;               // "tp", "pp", "world": in messages
  std::vector<int> worker_ranks;  // of the group, in group order
  int rank = 0;                   // in the group
  int64_t init_deadline_ns = 0;   // on the clock; 0: 30 s from the call
  // Told when the group fails, once, from any thread and with the group locked; or empty. For
  // device work beside NCCL's that would wait for ever.
  std::function<void()> on_failure;
};

// Carries the group's id, which rank 0 has made, to the group's other ranks: over MPI, a file, or
// whatever they can talk by before they can talk by NCCL. Fills `id` on the others.
using CarryId = std::function<Status(std::span<std::byte> id)>;

// failed_precondition when this build or machine has no NCCL; deadline_exceeded when a rank does
// not come. The clock outlives the group. A group of one rank needs neither.
Result<std::unique_ptr<ExchangingGroup>> make_nccl_group(const NcclGroupOptions& options,
                                                         const CarryId& carry_id,
                                                         const Clock& clock);

struct NcclMeshOptions {
  std::string machine;                          // any name that this rank's machine alone has
  OneShotMode all_reduce = OneShotMode::kAuto;  // of the tp group's sums
  bool rank_order_sums = false;                 // of the tp group, whatever their size
};

// The NCCL groups over a mesh over the host's memory, whose groups carry the ids and stay beside
// them as `host`; and small sums of the tp group over the GPUs' memory
// (one_shot/one_shot_group.h). Every rank of the mesh calls it, with its device current, on which
// `backend` is. The clock outlives the mesh.
Result<Mesh> make_nccl_mesh(Mesh host, const NcclMeshOptions& options, kernels::Backend& backend,
                            const Clock& clock);

}  // namespace trireme::comm
