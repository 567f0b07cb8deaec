// The smallest kernel: whether this build has code for a device is known before any work is given
// to it.
#include <cuda_runtime.h>

namespace trireme::kernels::cuda {
namespace {

__global__ void nothing() {}

}  // namespace

cudaError_t probe_kernel();
cudaError_t probe_kernel() {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, nothing);
}

}  // namespace trireme::kernels::cuda
