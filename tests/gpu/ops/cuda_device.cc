#include "tests/gpu/ops/device_fixture.h"

namespace trireme::kernels::testing {

std::unique_ptr<Backend> make_device_backend(ComputeDType compute_dtype, std::string* why_absent,
                                             bool batch_invariant) {
  auto backend =
      make_cuda_backend({.compute_dtype = compute_dtype, .batch_invariant = batch_invariant});
  if (backend.ok()) return std::move(*backend);
  *why_absent = backend.error().message;
  return nullptr;
}

Result<std::unique_ptr<PeerSum>> make_device_peer_sum(const PeerSumOptions& options) {
  return make_cuda_peer_sum(options);
}

}  // namespace trireme::kernels::testing
