#include "kernels/cuda/peer_memory.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <string>

namespace trireme::kernels::cuda {
namespace {

Error refused(const std::string& what, cudaError_t error) {
  (void)cudaGetLastError();
  return failed_precondition(what + ": " + cudaGetErrorString(error) + " (" +
                             cudaGetErrorName(error) + ")");
}

std::string bus_address(const PeerOffer& offer) {
  return {offer.device.data(), strnlen(offer.device.data(), offer.device.size())};
}

}  // namespace

Status export_memory(void* memory, PeerOffer& offer) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) {
    return refused("no CUDA device", error);
  }
  if (const cudaError_t error =
          cudaDeviceGetPCIBusId(offer.device.data(), static_cast<int>(offer.device.size()), device);
      error != cudaSuccess) {
    return refused("the GPU's address is not known", error);
  }
  cudaIpcMemHandle_t handle{};
  static_assert(sizeof(handle) == sizeof(offer.handle));
  if (const cudaError_t error = cudaIpcGetMemHandle(&handle, memory); error != cudaSuccess) {
    return refused("the driver does not share device memory between processes", error);
  }
  std::memcpy(offer.handle.data(), &handle, sizeof(handle));
  return {};
}

Result<void*> import_memory(const PeerOffer& offer) {
  const std::string theirs = bus_address(offer);
  int mine = 0;
  int peer = 0;
  if (const cudaError_t error = cudaGetDevice(&mine); error != cudaSuccess) {
    return refused("no CUDA device", error);
  }
  if (const cudaError_t error = cudaDeviceGetByPCIBusId(&peer, theirs.c_str());
      error != cudaSuccess) {
    return refused("the GPU at " + theirs + " is not visible to this process", error);
  }
  int can = 1;
  if (peer != mine) {
    if (const cudaError_t error = cudaDeviceCanAccessPeer(&can, mine, peer); error != cudaSuccess) {
      return refused("whether the GPU at " + theirs + " can be reached is not known", error);
    }
  }
  if (can == 0) {
    return failed_precondition("the GPU at " + theirs + " cannot be reached from this rank's GPU");
  }
  cudaIpcMemHandle_t handle{};
  std::memcpy(&handle, offer.handle.data(), sizeof(handle));
  void* memory = nullptr;
  if (const cudaError_t error =
          cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess);
      error != cudaSuccess) {
    return refused("memory of the GPU at " + theirs + " cannot be opened", error);
  }
  return memory;
}

void close_imported(void* memory) {
  // At the end of a process the driver may be gone already, and the mapping with it.
  (void)cudaIpcCloseMemHandle(memory);
}

}  // namespace trireme::kernels::cuda
