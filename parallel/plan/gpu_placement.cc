#include "parallel/plan/gpu_placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/check.h"

namespace trireme::plan {
namespace {

std::string counted(int64_t n, std::string_view what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

Error too_few(const RankMachine& machine, int n_ranks) {
  const std::string taken = machine.n_taken == 0 ? ""
                                                 : fmt::format(" beside {} of earlier replicas",
                                                               counted(machine.n_taken, "rank"));
  return failed_precondition(
      fmt::format("{} has {}, but {} of this replica {} to run there{}, each on a GPU of its own",
                  machine.host, counted(static_cast<int64_t>(machine.gpus.size()), "GPU"),
                  counted(n_ranks, "rank"), n_ranks == 1 ? "is" : "are", taken));
}

}  // namespace

Result<std::vector<int>> place_on_gpus(const std::vector<RankMachine>& machine_of_rank, int tp) {
  CHECK_GT(tp, 0);
  CHECK_EQ(machine_of_rank.size() % static_cast<size_t>(tp), size_t{0});
  std::map<std::string, int> n_ranks;
  std::vector<int> devices;
  devices.reserve(machine_of_rank.size());
  for (const RankMachine& machine : machine_of_rank) {
    devices.push_back(machine.n_taken + n_ranks[machine.host]++);
  }
  for (size_t rank = 0; rank < machine_of_rank.size(); ++rank) {
    const RankMachine& machine = machine_of_rank[rank];
    if (devices[rank] >= static_cast<int>(machine.gpus.size())) {
      return too_few(machine, n_ranks[machine.host]);
    }
  }
  const auto name_of = [&](size_t rank) -> const std::string& {
    return machine_of_rank[rank].gpus[static_cast<size_t>(devices[rank])].name;
  };
  for (size_t rank = 0; rank < machine_of_rank.size(); ++rank) {
    const size_t first = rank - rank % static_cast<size_t>(tp);
    if (name_of(rank) == name_of(first)) continue;
    return failed_precondition(fmt::format(
        "ranks {} and {} share each layer, but have a {} and a {}: a tensor-parallel group wants "
        "GPUs of one model",
        first, rank, name_of(first), name_of(rank)));
  }
  return devices;
}

Status check_gpus_of_one_machine(const std::vector<kernels::cuda::GpuDescription>& gpus, int tp,
                                 int pp, int n_replicas) {
  for (int replica = 0; replica < n_replicas; ++replica) {
    const RankMachine machine{.host = "this machine", .gpus = gpus, .n_taken = replica * tp * pp};
    TRY(place_on_gpus(std::vector<RankMachine>(static_cast<size_t>(tp * pp), machine), tp));
  }
  return {};
}

}  // namespace trireme::plan
