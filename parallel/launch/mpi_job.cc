#include "parallel/launch/mpi_job.h"

#include <fmt/format.h>
#include <mpi.h>

#include <cstdint>

#include "parallel/comm/mpi/mpi_mesh.h"
#include "parallel/comm/mpi/mpi_runtime.h"

namespace trireme::launch {
namespace {

constexpr int64_t kMaxTextBytes = 1 << 20;

class MpiJobImpl final : public MpiJob {
 public:
  explicit MpiJobImpl(std::unique_ptr<comm::MpiRuntime> runtime) : runtime_(std::move(runtime)) {}

  int rank() const override { return runtime_->world_rank(); }

  Result<std::string> broadcast_from_coordinator(const std::string& text) override {
    int64_t n = static_cast<int64_t>(text.size());
    MPI_Bcast(&n, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
    if (n < 0 || n > kMaxTextBytes) {
      return invalid_argument(
          fmt::format("the coordinator tells {} bytes; the limit is {}", n, kMaxTextBytes));
    }
    std::string received = rank() == 0 ? text : std::string(static_cast<size_t>(n), '\0');
    MPI_Bcast(received.data(), static_cast<int>(n), MPI_CHAR, 0, MPI_COMM_WORLD);
    return received;
  }

  Result<comm::Mesh> make_worker_mesh(int tp, int pp, const Clock& clock) override {
    return comm::make_mpi_mesh({.tp = tp, .pp = pp, .first_world_rank = 1}, clock);
  }

  void abandon() override { runtime_->abandon(); }

 private:
  std::unique_ptr<comm::MpiRuntime> runtime_;
};

}  // namespace

Result<std::unique_ptr<MpiJob>> MpiJob::start(int n_workers) {
  ASSIGN_OR_RETURN(auto runtime, comm::MpiRuntime::start());
  if (runtime->world_size() != n_workers + 1) {
    runtime->abandon();
    return failed_precondition(fmt::format(
        "the MPI job has {} ranks; this configuration needs one coordinator and {} workers: "
        "mpirun -np 1 trireme-coordinator CONFIG : -np {} trireme-worker CONFIG",
        runtime->world_size(), n_workers, n_workers));
  }
  if (runtime->world_rank() != 0) signal(kLeaveSignal, SIG_IGN);
  return std::unique_ptr<MpiJob>(new MpiJobImpl(std::move(runtime)));
}

}  // namespace trireme::launch
