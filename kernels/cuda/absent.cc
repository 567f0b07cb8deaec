// Compiled in place of the CUDA backend where it is not built: absence is an error, said once and
// clearly.
#include "kernels/backend.h"

namespace trireme::kernels {

Result<std::unique_ptr<Backend>> make_cuda_backend(int /*device*/, ComputeDType /*compute_dtype*/) {
  return Error{ErrorCode::kFailedPrecondition,
               "this build has no CUDA backend; use the cpu backend instead"};
}

}  // namespace trireme::kernels
