// Linear layers on packed weights, plain or of low-bit codes, one or one per expert, spread over a
// thread pool by panels of outputs.
#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/low_bit_weight.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::kernels::cpu {

class Linear {
 public:
  Linear(const IsaKernels& isa, ComputeDType compute_dtype, ThreadPool* pool);

  // Shapes and contents were checked by the caller.
  void run(const LinearArgs& args);
  void run(const GroupedLinearArgs& args);

 private:
  struct Inputs;
  // Rows that pass through one weight together.
  struct Segment {
    const CpuPackedWeight* plain = nullptr;    // one of the two
    const CpuLowBitWeight* low_bit = nullptr;  //
    const float* bias = nullptr;               // or null
    int64_t first_row = 0;
    int64_t n_rows = 0;

    int64_t out_features() const;
    int64_t work_floats() const;  // of a panel
    int64_t n_panels() const { return (out_features() + kPanelWidth - 1) / kPanelWidth; }
  };

  Segment segment_of(const PackedWeight* weight, const float* bias, int64_t first_row,
                     int64_t n_rows) const;
  Inputs convert_inputs(const TensorView& x, std::span<const Segment> batch);
  void convert_row(const TensorView& x, int64_t row, const Segment& segment, const Inputs& inputs,
                   int thread);
  const char* in_order_of(const CpuLowBitWeight& weight, const TensorView& x, const char* row,
                          int thread);
  void run_batch(const TensorView& x, const TensorView& out, std::span<const Segment> batch);
  void run_panels(const Segment& segment, const Inputs& inputs, const TensorView& out,
                  int64_t first_panel, int64_t end_panel, int thread);
  void multiply(const Segment& segment, const Inputs& inputs, int64_t panel, float* work) const;
  template <typename OfCodes, typename Expand, typename OfPairs>
  void each_piece(const Segment& segment, const Inputs& inputs, int64_t panel, uint32_t* expanded,
                  const OfCodes& of_codes, const Expand& expand, const OfPairs& of_pairs) const;
  void multiply_scaled_units(const Segment& segment, const Inputs& inputs, int64_t panel,
                             float* work) const;
  void multiply_low_bit(const Segment& segment, const Inputs& inputs, int64_t panel,
                        float* work) const;

  const IsaKernels& isa_;
  ComputeDType compute_dtype_;
  ThreadPool* pool_;
  Scratch inputs_;                   // the rows of a batch in the form that the product reads
  Scratch input_sums_;               // of each row's inputs, group by group of a low-bit weight
  std::vector<Scratch> per_thread_;  // sums of one panel, and what leads to them
  std::vector<Segment> batch_;
};

}  // namespace trireme::kernels::cpu
