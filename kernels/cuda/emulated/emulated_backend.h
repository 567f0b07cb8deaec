// The CUDA backend on the emulator, for tests on a machine without a GPU.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trireme::kernels {

// Its memory is host memory. Slow; see emulator.h for what it shows and what not.
std::unique_ptr<Backend> make_emulated_cuda_backend(ComputeDType compute_dtype,
                                                    bool batch_invariant = false);

}  // namespace trireme::kernels
