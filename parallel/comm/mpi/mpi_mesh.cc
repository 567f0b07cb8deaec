#include "parallel/comm/mpi/mpi_mesh.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "base/log.h"
#include "parallel/comm/mesh_layout.h"
#include "parallel/comm/mpi/mpi_group.h"
#include "parallel/comm/shm/shm_group.h"

namespace trireme::comm {
namespace {

// Where every rank has a core, spinning this long costs nobody anything and saves the kernel's
// wake-up.
constexpr int64_t kSpinNs = 50'000;

// Frees a communicator that only setting up needs.
class OwnedComm {
 public:
  explicit OwnedComm(MPI_Comm comm) : comm_(comm) {}
  ~OwnedComm() {
    if (comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
  }
  OwnedComm(const OwnedComm&) = delete;
  OwnedComm& operator=(const OwnedComm&) = delete;
  MPI_Comm get() const { return comm_; }
  MPI_Comm release() { return std::exchange(comm_, MPI_COMM_NULL); }

 private:
  MPI_Comm comm_;
};

// The communicator of `members` (ranks of `parent`), made by those members alone.
MPI_Comm sub_comm(MPI_Comm parent, const std::vector<int>& members, int tag) {
  MPI_Group all = MPI_GROUP_NULL;
  MPI_Group some = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_group(parent, &all);
  MPI_Group_incl(all, static_cast<int>(members.size()), members.data(), &some);
  MPI_Comm_create_group(parent, some, tag, &comm);
  MPI_Group_free(&some);
  MPI_Group_free(&all);
  return comm;
}

struct Nodes {
  std::vector<int> node_of;    // worker rank -> the lowest worker rank of its node
  bool core_per_rank = false;  // on this node
};

Nodes find_nodes(MPI_Comm workers, int worker_rank, int n_workers) {
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(workers, MPI_COMM_TYPE_SHARED, worker_rank, MPI_INFO_NULL, &node);
  const OwnedComm owned(node);
  Nodes nodes;
  int lowest = worker_rank;
  MPI_Bcast(&lowest, 1, MPI_INT, 0, node);
  nodes.node_of.resize(static_cast<size_t>(n_workers));
  MPI_Allgather(&lowest, 1, MPI_INT, nodes.node_of.data(), 1, MPI_INT, workers);
  // mpirun may have bound each rank to a core: count the cores that all of them may use.
  cpu_set_t own;
  CPU_ZERO(&own);
  sched_getaffinity(0, sizeof(own), &own);
  cpu_set_t any;
  CPU_ZERO(&any);
  MPI_Allreduce(&own, &any, static_cast<int>(sizeof(own)), MPI_BYTE, MPI_BOR, node);
  int n_on_node = 0;
  MPI_Comm_size(node, &n_on_node);
  nodes.core_per_rank = CPU_COUNT(&any) >= n_on_node;
  return nodes;
}

// How the first rank of a group tells the others where its memory is.
struct Invitation {
  int32_t ok = 0;
  int32_t pid = 0;
  int32_t fd = -1;
  uint64_t nonce = 0;
};

// Shared memory of all ranks of `comm`, which are on one node; null, with the reason logged, when a
// rank cannot map it.
std::shared_ptr<Region> share_region(MPI_Comm comm, const std::string& name, int n_ranks) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  const RegionOptions options{.n_ranks = n_ranks};
  Invitation invitation;
  Result<std::shared_ptr<Region>> region = unavailable("the group's first rank could not make it.");
  if (rank == 0) {
    std::random_device random;
    invitation.nonce = uint64_t{random()} << 32 | random();
    region = Region::create_shared(options, invitation.nonce);
    invitation.ok = region.ok() ? 1 : 0;
    invitation.pid = getpid();
    invitation.fd = region.ok() ? (*region)->fd() : -1;
  }
  MPI_Bcast(&invitation, static_cast<int>(sizeof(invitation)), MPI_BYTE, 0, comm);
  if (rank != 0 && invitation.ok != 0) {
    region = Region::open_shared(options, invitation.pid, invitation.fd, invitation.nonce);
  }
  int mapped = region.ok() ? 1 : 0;
  int all_mapped = 0;
  MPI_Allreduce(&mapped, &all_mapped, 1, MPI_INT, MPI_MIN, comm);
  if (all_mapped != 0) return *region;
  log::warn("the {} group has no shared memory and uses messages: {}", name,
            region.ok() ? "a peer cannot map it." : region.error().message);
  return nullptr;
}

// What making the groups needs to know.
struct Site {
  const MpiMeshOptions& options;
  const Clock& clock;
  MPI_Comm workers;
  const Nodes& nodes;
};

struct MadeGroup {
  std::unique_ptr<Group> group;
  bool in_shared_memory = false;
};

MadeGroup make_group(const Site& site, const std::string& name, const std::vector<int>& members,
                     int tag) {
  OwnedComm comm(sub_comm(site.workers, members, tag));
  int rank = 0;
  MPI_Comm_rank(comm.get(), &rank);
  const int64_t spin_ns = site.nodes.core_per_rank ? kSpinNs : 0;
  const auto node = [&](int worker) { return site.nodes.node_of[static_cast<size_t>(worker)]; };
  const bool one_node = std::all_of(members.begin(), members.end(),
                                    [&](int w) { return node(w) == node(members.front()); });
  if (one_node && !site.options.force_network) {
    std::shared_ptr<Region> region =
        share_region(comm.get(), name, static_cast<int>(members.size()));
    if (region != nullptr) {
      ShmGroupOptions options{
          .name = name, .worker_ranks = members, .rank = rank, .spin_ns = spin_ns};
      return {std::make_unique<ShmGroup>(std::move(region), std::move(options), site.clock), true};
    }
  }
  MpiGroupOptions options{.name = name, .worker_ranks = members, .spin_ns = spin_ns};
  return {std::make_unique<MpiGroup>(comm.release(), std::move(options), site.clock), false};
}

}  // namespace

Result<MpiMesh> make_mpi_mesh_with_facts(const MpiMeshOptions& options, const Clock& clock) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized == 0) return failed_precondition("MPI has not been started.");
  if (options.tp < 1 || options.pp < 1 || options.first_world_rank < 0) {
    return invalid_argument(
        fmt::format("a mesh of tp {} x pp {} cannot be made.", options.tp, options.pp));
  }
  int world_rank = 0;
  int world_size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size);
  const int n_workers = options.tp * options.pp;
  if (world_size - options.first_world_rank != n_workers) {
    return failed_precondition(fmt::format("tp {} x pp {} needs {} workers, but the job has {}.",
                                           options.tp, options.pp, n_workers,
                                           world_size - options.first_world_rank));
  }
  if (world_rank < options.first_world_rank) {
    return failed_precondition(fmt::format("rank {} of the job is no worker.", world_rank));
  }

  std::vector<int> world_ranks;
  world_ranks.reserve(static_cast<size_t>(n_workers));
  for (int w = 0; w < n_workers; ++w) world_ranks.push_back(options.first_world_rank + w);
  const OwnedComm workers(sub_comm(MPI_COMM_WORLD, world_ranks, /*tag=*/0));
  const int worker_rank = world_rank - options.first_world_rank;
  const Nodes nodes = find_nodes(workers.get(), worker_rank, n_workers);
  const Site site{options, clock, workers.get(), nodes};
  const MeshLayout layout = mesh_layout(worker_rank, options.tp, options.pp);
  // Groups of one kind do not overlap, so every rank makes its own in this order and nobody waits
  // in a circle.
  MadeGroup tp = make_group(site, "tp", layout.tp, 1);
  MadeGroup pp = make_group(site, "pp", layout.pp, 2);
  MadeGroup world = make_group(site, "world", layout.world, 3);

  MpiMesh made;
  made.mesh.worker_rank = worker_rank;
  made.mesh.tp = std::move(tp.group);
  made.mesh.pp = std::move(pp.group);
  made.mesh.world = std::move(world.group);
  made.tp_in_shared_memory = tp.in_shared_memory;
  made.core_per_rank = nodes.core_per_rank;
  return made;
}

Result<Mesh> make_mpi_mesh(const MpiMeshOptions& options, const Clock& clock) {
  ASSIGN_OR_RETURN(MpiMesh made, make_mpi_mesh_with_facts(options, clock));
  return std::move(made.mesh);
}

}  // namespace trireme::comm
