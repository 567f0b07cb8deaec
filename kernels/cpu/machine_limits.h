// MachineLimits: what this machine can do at most, measured, so that a benchmark can say how near
// it comes.
//
// Not a constant of the machine: other work on it, clock and neighbours move these figures, so
// measure them in the run that they are compared with. Source of the method: independent
// multiply-adds in registers; reading memory that is larger than every cache.
#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"

namespace trireme::kernels::cpu {

struct MachineLimits {
  int n_threads = 0;
  double read_bytes_per_second = 0;  // all threads together
  double f32_flops = 0;              // multiply and add count as two
  double bf16_flops = 0;             // of the bf16 dot product; 0 where the processor has none

  // The rate that bf16 compute can reach: by its own instruction, or in f32 after expanding.
  double bf16_compute_flops() const { return bf16_flops > 0 ? bf16_flops : f32_flops; }
};

// Measures repeatedly over the same memory and threads. One thread drives it.
class LimitMeter {
 public:
  // `bytes` of memory to read: several times the last-level cache. resource_exhausted when they are
  // not there.
  static Result<std::unique_ptr<LimitMeter>> create(int n_threads, size_t bytes);
  virtual ~LimitMeter() = default;

  // Takes about `seconds`, a third for each figure, of which the best of a few rounds counts.
  virtual MachineLimits measure(double seconds) = 0;
};

// One measurement with the best instruction set of this processor.
Result<MachineLimits> measure_machine_limits(int n_threads, size_t bytes, double seconds);

}  // namespace trireme::kernels::cpu
