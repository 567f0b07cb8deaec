#include "tests/gpu/ops/device_fixture.h"

namespace trireme::kernels::testing {

std::unique_ptr<Backend> make_device_backend(ComputeDType compute_dtype, std::string* why_absent) {
  auto backend = make_cuda_backend(0, compute_dtype);
  if (backend.ok()) return std::move(*backend);
  *why_absent = backend.error().message;
  return nullptr;
}

}  // namespace trireme::kernels::testing
