#include "parallel/comm/inproc/inproc_world.h"

#include "base/check.h"
#include "parallel/comm/mesh_layout.h"
#include "parallel/comm/shm/shm_group.h"

namespace trireme::comm {
namespace {

constexpr int64_t kSpinNs = 2000;

std::shared_ptr<Region> make_region(int n_ranks) {
  Result<std::shared_ptr<Region>> region = Region::anonymous({.n_ranks = n_ranks});
  // Address space alone can be short here, and no caller can do better than stop.
  CHECK(region.ok()) << region.error().message;
  return *region;
}

}  // namespace

std::vector<Mesh> make_inproc_meshes(int tp, int pp, const Clock& clock) {
  CHECK_GE(tp, 1);
  CHECK_GE(pp, 1);
  const int64_t spin_ns = usable_cores() >= tp * pp ? kSpinNs : 0;
  const std::shared_ptr<Region> world = make_region(tp * pp);
  std::vector<std::shared_ptr<Region>> stages;
  std::vector<std::shared_ptr<Region>> columns;
  stages.reserve(static_cast<size_t>(pp));
  columns.reserve(static_cast<size_t>(tp));
  for (int stage = 0; stage < pp; ++stage) stages.push_back(make_region(tp));
  for (int tp_rank = 0; tp_rank < tp; ++tp_rank) columns.push_back(make_region(pp));

  std::vector<Mesh> meshes(static_cast<size_t>(tp * pp));
  for (int worker_rank = 0; worker_rank < tp * pp; ++worker_rank) {
    const int stage = worker_rank / tp;
    const int tp_rank = worker_rank % tp;
    const MeshLayout layout = mesh_layout(worker_rank, tp, pp);
    Mesh& mesh = meshes[static_cast<size_t>(worker_rank)];
    mesh.worker_rank = worker_rank;
    mesh.tp = std::make_unique<ShmGroup>(
        stages[static_cast<size_t>(stage)],
        ShmGroupOptions{
            .name = "tp", .worker_ranks = layout.tp, .rank = tp_rank, .spin_ns = spin_ns},
        clock);
    mesh.pp = std::make_unique<ShmGroup>(
        columns[static_cast<size_t>(tp_rank)],
        ShmGroupOptions{.name = "pp", .worker_ranks = layout.pp, .rank = stage, .spin_ns = spin_ns},
        clock);
    mesh.world = std::make_unique<ShmGroup>(
        world,
        ShmGroupOptions{
            .name = "world", .worker_ranks = layout.world, .rank = worker_rank, .spin_ns = spin_ns},
        clock);
  }
  return meshes;
}

}  // namespace trireme::comm
