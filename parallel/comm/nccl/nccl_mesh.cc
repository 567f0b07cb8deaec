#include <utility>

#include "parallel/comm/alternating_group.h"
#include "parallel/comm/mesh_layout.h"
#include "parallel/comm/nccl/nccl_group.h"
#include "parallel/comm/one_shot/one_shot_group.h"
#include "parallel/comm/rank_order/rank_order_group.h"

namespace trireme::comm {
namespace {

// The host group takes the id from its rank 0 to the others.
CarryId over(Group& host) {
  return [&host](std::span<std::byte> id) {
    const TensorView bytes(id.data(), DType::kU8, {static_cast<int64_t>(id.size())});
    return host.broadcast(bytes, 0, {.step = StepId(0), .op = "carrying an NCCL id"});
  };
}

}  // namespace

Result<Mesh> make_nccl_mesh(Mesh host, const NcclMeshOptions& options, kernels::Backend& backend,
                            const Clock& clock) {
  const MeshLayout layout = mesh_layout(host.worker_rank, host.tp->size(), host.pp->size());
  Mesh mesh;
  mesh.worker_rank = host.worker_rank;
  const auto stop = std::make_shared<OneShotStop>();
  ASSIGN_OR_RETURN(auto nccl, make_nccl_group({.name = "tp",
                                               .worker_ranks = layout.tp,
                                               .rank = host.tp->rank(),
                                               .on_failure = [stop] { abort_sums(*stop); }},
                                              over(*host.tp), clock));
  std::unique_ptr<Group> tp;
  if (options.rank_order_sums) {
    ASSIGN_OR_RETURN(tp, with_rank_order_sums(std::move(nccl),
                                              {.backend = backend, .sum = kernels::cuda_term_sum}));
  } else {
    tp = std::move(nccl);
  }
  ASSIGN_OR_RETURN(mesh.tp, with_one_shot(std::move(tp), {.backend = backend,
                                                          .clock = clock,
                                                          .make = kernels::make_cuda_peer_sum,
                                                          .machine = options.machine,
                                                          .mode = options.all_reduce,
                                                          .stop = stop,
                                                          .host = host.tp.get(),
                                                          .same_bits = options.rank_order_sums}));
  const auto make_column = [&](const char* name) {
    return make_nccl_group({.name = name, .worker_ranks = layout.pp, .rank = host.pp->rank()},
                           over(*host.pp), clock);
  };
  ASSIGN_OR_RETURN(mesh.pp, make_column("pp"));
  if (mesh.pp->size() > 2) {
    ASSIGN_OR_RETURN(auto odd, make_column("pp odd"));
    mesh.pp = make_alternating_group(std::move(mesh.pp), std::move(odd));
  }
  ASSIGN_OR_RETURN(
      mesh.world,
      make_nccl_group({.name = "world", .worker_ranks = layout.world, .rank = host.world->rank()},
                      over(*host.world), clock));
  mesh.host = std::make_unique<Mesh>(std::move(host));
  return mesh;
}

}  // namespace trireme::comm
