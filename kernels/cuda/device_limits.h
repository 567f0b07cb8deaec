// What a GPU can do at most, measured: the rate of a copy inside its memory, and of a large bf16
// product on random data (zeros would run at higher clocks than any model does).
#pragma once

#include <memory>

#include "base/result.h"
#include "kernels/cpu/machine_limits.h"

namespace trireme::kernels::cuda {

// GPUs of this machine; 0 where there is none, no driver, or no CUDA in this build.
int device_count();

// Measured once, when it is made, over 2 GiB and a product of 8192 by 8192 by 8192; `measure`
// returns those figures. A copy counts the bytes that it reads and those that it writes.
// failed_precondition when there is no such device, or no CUDA in this build.
Result<std::unique_ptr<cpu::LimitMeter>> make_device_limit_meter(int device);

}  // namespace trireme::kernels::cuda
