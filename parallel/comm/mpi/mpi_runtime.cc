#include "parallel/comm/mpi/mpi_runtime.h"

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

namespace trireme::comm {

Result<std::unique_ptr<MpiRuntime>> MpiRuntime::start() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) return failed_precondition("MPI was started before in this process.");
  // Several threads may call: abort() comes from any. A library that offers less still works, see
  // MpiGroup.
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) {
    return failed_precondition("MPI does not start.");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  std::unique_ptr<MpiRuntime> runtime(new MpiRuntime);
  MPI_Comm_rank(MPI_COMM_WORLD, &runtime->world_rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &runtime->world_size_);
  return runtime;
}

MpiRuntime::~MpiRuntime() {
  if (!abandoned_) MPI_Finalize();
}

}  // namespace trireme::comm
