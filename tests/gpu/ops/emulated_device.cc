#include "kernels/cuda/emulated/emulated_backend.h"
#include "tests/gpu/ops/device_fixture.h"

namespace trireme::kernels::testing {

std::unique_ptr<Backend> make_device_backend(ComputeDType compute_dtype, std::string*,
                                             bool batch_invariant) {
  return make_emulated_cuda_backend(compute_dtype, batch_invariant);
}

Result<std::unique_ptr<PeerSum>> make_device_peer_sum(const PeerSumOptions& options) {
  return make_emulated_peer_sum(options);
}

}  // namespace trireme::kernels::testing
