// The CUDA backend on the emulator, for tests on a machine without a GPU.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/peer_sum.h"
#include "kernels/term_sum.h"

namespace trireme::kernels {

// Its memory is host memory. Slow; see emulator.h for what it shows and what not.
std::unique_ptr<Backend> make_emulated_cuda_backend(ComputeDType compute_dtype,
                                                    bool batch_invariant = false);

// From here on the calling thread's device does its work when its host waits for it, and a piece
// of it each time that its host asks; not for groups, whose host reads the device's memory.
void make_emulated_device_late();

// The same of make_cuda_peer_sum. Ranks are threads of one process, whose kernels run side by side.
Result<std::unique_ptr<PeerSum>> make_emulated_peer_sum(const PeerSumOptions& options);

// The same of cuda_term_sum.
void emulated_term_sum(const TermSumArgs& args, Stream stream);

}  // namespace trireme::kernels
