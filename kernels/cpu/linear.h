// Linear layers on packed weights, spread over a thread pool by panels of outputs.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::kernels::cpu {

class Linear {
 public:
  Linear(const IsaKernels& isa, ComputeDType compute_dtype, ThreadPool* pool);

  // Shapes were checked by the caller.
  void run(const LinearArgs& args);

 private:
  struct Inputs;
  Inputs convert_inputs(const LinearArgs& args, int64_t first_row, int64_t n_rows);
  void convert_row(const LinearArgs& args, int64_t row, const Inputs& inputs, int64_t i) const;
  void run_rows(const LinearArgs& args, int64_t first_row, int64_t n_rows);

  const IsaKernels& isa_;
  ComputeDType compute_dtype_;
  ThreadPool* pool_;
  Scratch inputs_;                   // the rows of a call in the form that the product reads
  std::vector<Scratch> per_thread_;  // sums of one panel
};

}  // namespace trireme::kernels::cpu
