// Host memory for the backends that compute on the CPU: zeroed, aligned, on huge pages where they
// help.
//
// Thread-safe: no state is shared.
#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "kernels/backend.h"

namespace trireme::kernels {

// What this process can still allocate: the machine's available memory, or its control group's
// where that is less.
Result<size_t> available_host_memory_bytes();

// Zeroed memory, aligned to 64 bytes (2 MiB, and advised to sit on huge pages, from 2 MiB on).
// resource_exhausted, with both numbers, when `bytes` exceeds what is available.
Result<std::unique_ptr<Buffer>> allocate_host(size_t bytes);

}  // namespace trireme::kernels
