#include "kernels/host_backend.h"

#include <cstring>
#include <string>

#include "kernels/host_memory.h"

namespace trireme::kernels {

Result<std::unique_ptr<Buffer>> HostBackend::allocate(size_t bytes) { return allocate_host(bytes); }

Result<size_t> HostBackend::free_memory_bytes() const { return available_host_memory_bytes(); }

void HostBackend::copy_to_host(void* host, const void* device, size_t bytes, Stream) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void HostBackend::copy_to_device(void* device, const void* host, size_t bytes, Stream) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void HostBackend::synchronize(Stream) {}

Status check_packable(const TensorView& host_weight) {
  if (!host_weight.defined() || host_weight.rank != 2) {
    return invalid_argument("a weight to pack must be a matrix [out, in], but it has rank " +
                            std::to_string(host_weight.rank));
  }
  if (host_weight.shape[0] <= 0 || host_weight.shape[1] <= 0) {
    return invalid_argument("a weight to pack must not be empty, but its shape is [" +
                            std::to_string(host_weight.shape[0]) + ", " +
                            std::to_string(host_weight.shape[1]) + "]");
  }
  const DType dtype = host_weight.dtype;
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    return invalid_argument("a weight to pack must be f32, f16 or bf16, but it is " +
                            std::string(to_string(dtype)));
  }
  return {};
}

}  // namespace trireme::kernels
