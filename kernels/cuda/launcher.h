// Launcher: what an op is enqueued with.
#pragma once

namespace trireme::kernels::cuda {

struct Launcher {
  void* stream = nullptr;  // cudaStream_t
  int n_multiprocessors = 1;
};

}  // namespace trireme::kernels::cuda
