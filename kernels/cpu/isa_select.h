// Which table of kernels this processor runs.
#pragma once

#include <string>

#include "base/result.h"
#include "kernels/cpu/isa_kernels.h"

namespace trireme::kernels::cpu {

// The best table up to `max_isa` ("", "portable", "avx2", "avx512"; "" is no bound).
// invalid_argument when max_isa is not a name, or names what this processor or build does not have.
Result<IsaKernels> select_kernels(const std::string& max_isa);

}  // namespace trireme::kernels::cpu
