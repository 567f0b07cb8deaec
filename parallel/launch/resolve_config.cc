#include "parallel/launch/resolve_config.h"

#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>

#include "parallel/launch/cgroup_limits.h"
#include "parallel/launch/host_assignment.h"
#include "parallel/launch/run_dir.h"

namespace trireme::launch {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const double share = own_cgroup_limits().cores.value_or(CPU_SETSIZE);
  return std::max(1, std::min(CPU_COUNT(&set), static_cast<int>(std::min(share, 1e6))));
}

int64_t machine_memory_bytes() {
  struct sysinfo info {};
  if (sysinfo(&info) != 0) return 0;
  const int64_t all = static_cast<int64_t>(info.totalram) * info.mem_unit;
  return std::min(all, own_cgroup_limits().memory_bytes.value_or(all));
}

// The folder's name. In a download cache that is a hash, and the model's name is two above it:
// models--org--name/snapshots/<hash>.
std::string name_of_model(const std::string& model_path) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(model_path, error).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  constexpr std::string_view kCached = "models--";
  std::string cached = path.parent_path().parent_path().filename().string();
  if (path.parent_path().filename() != "snapshots" || !cached.starts_with(kCached)) {
    return path.filename().string();
  }
  cached.erase(0, kCached.size());
  const size_t slash = cached.find("--");
  if (slash != std::string::npos) cached.replace(slash, 2, "/");
  return cached;
}

// On the machine that holds the most of them.
Result<int> ranks_of_a_machine(const ClusterConfig& config) {
  ASSIGN_OR_RETURN(const std::vector<ReplicaHosts> assigned, assign_hosts(config));
  if (assigned.empty()) {
    return config.replicas.tp * config.replicas.pp * config.replicas.count;
  }
  std::map<std::string, int> n_ranks;
  int most = 1;
  for (const ReplicaHosts& replica : assigned) {
    for (const HostShare& share : replica) {
      most = std::max(most, n_ranks[share.host] += share.n_ranks);
    }
  }
  return most;
}

}  // namespace

Status resolve_config(ClusterConfig& config) {
  ReplicaConfig& replicas = config.replicas;
  if (replicas.backend == "auto") replicas.backend = "cpu";
  const bool on_gpus = replicas.backend == "cuda";
  if (!on_gpus && replicas.all_reduce != "auto") {
    return failed_precondition("`replicas.all_reduce` is " + replicas.all_reduce +
                               ", which is about sums of GPUs: it needs backend cuda");
  }
  if (replicas.collective == "auto") replicas.collective = on_gpus ? "nccl" : "mpi";
  if (!on_gpus && replicas.collective == "nccl") {
    return failed_precondition("collective \"nccl\" needs backend cuda");
  }
  if (on_gpus && replicas.collective == "mpi") {
    return failed_precondition(
        "collective \"mpi\" sums in the hosts' memory: with backend cuda it is nccl, for which MPI "
        "carries the ids");
  }
  // A device waits for its next plan as long as the plan is under way; a rank on cores has a thread
  // less to share them with meanwhile, and a new request may go first.
  std::string& run_ahead = config.scheduler.run_ahead;
  if (run_ahead == "auto") run_ahead = on_gpus && replicas.pp == 1 ? "on" : "off";
  if (run_ahead == "on" && replicas.pp > 1) {
    return failed_precondition(
        "`scheduler.run_ahead` is on and `replicas.pp` is above 1: the first stage does not know "
        "what the last one sampled, and other sequences keep it busy");
  }
  if (config.model.compute_dtype == "auto") config.model.compute_dtype = "bfloat16";
  ASSIGN_OR_RETURN(const int n_ranks, ranks_of_a_machine(config));
  if (replicas.threads_per_rank == 0) {
    replicas.threads_per_rank = std::max(1, usable_cores() / n_ranks);
  }
  // A rank on a GPU asks the GPU.
  if (replicas.memory_gib == 0 && !on_gpus) {
    replicas.memory_gib = static_cast<double>(machine_memory_bytes()) / kGiB / n_ranks;
  }
  if (config.model.served_name.empty()) {
    config.model.served_name = name_of_model(config.model.path);
  }
  if (config.state_dir.empty()) config.state_dir = default_state_dir();
  return {};
}

}  // namespace trireme::launch
