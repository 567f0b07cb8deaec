// HostBackend: what the backends on host memory have in common, which is memory and copies.
// Computes nothing.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trireme::kernels {

class HostBackend : public Backend {
 public:
  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override;
  Result<size_t> free_memory_bytes() const override;
  void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) override;
  void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) override;
  void synchronize(Stream stream) override;
};

// invalid_argument unless `host_weight` is a non-empty [out, in] matrix of f32, f16 or bf16.
Status check_packable(const TensorView& host_weight);

}  // namespace trireme::kernels
