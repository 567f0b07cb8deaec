// Compiled in place of the CUDA backend where it is not built: absence is an error, said once and
// clearly.
#include "base/check.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_limits.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/peer_sum.h"
#include "kernels/term_sum.h"

namespace trireme::kernels {

Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaOptions& /*options*/) {
  return Error{ErrorCode::kFailedPrecondition,
               "this build has no CUDA backend; use the cpu backend instead"};
}

Result<std::unique_ptr<PeerSum>> make_cuda_peer_sum(const PeerSumOptions& /*options*/) {
  return failed_precondition("this build has no CUDA backend");
}

void cuda_term_sum(const TermSumArgs& /*args*/, Stream /*stream*/) {
  CHECK(false) << "this build has no CUDA backend";
}

namespace cuda {

int device_count() { return 0; }

Result<std::vector<GpuDescription>> list_gpus() {
  return failed_precondition(
      "this build has no CUDA backend: build with -DTRIREME_CUDA=ON, or serve with --backend cpu");
}

Result<std::unique_ptr<cpu::LimitMeter>> make_device_limit_meter(int /*device*/) {
  return failed_precondition("this build has no CUDA backend");
}

Result<PrefillTrial> bench_prefill_attention(const PrefillTrialShape& /*shape*/, int /*device*/) {
  return failed_precondition("this build has no CUDA backend");
}

}  // namespace cuda
}  // namespace trireme::kernels
