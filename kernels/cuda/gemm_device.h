// What the product kernels share on the device: weights by run, fragments, and the store of a
// result.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/row_tiles.h"

namespace trireme::kernels::cuda {

// The weight of one run, or of the many runs of a grouped product.
struct OneWeight {
  const void* only;
  TRIREME_HD const void* of(int64_t) const { return only; }
};
struct ManyWeights {
  WeightTable table;
  TRIREME_HD const void* of(int64_t run) const { return table.at[run]; }
};

// Calls `with` with the weights of the operands' runs.
template <typename With>
void with_weights(const GemmOperands& operands, With&& with) {
  if (operands.n_runs == 0) {
    with(OneWeight{operands.weight});
  } else {
    CHECK_LE(operands.n_runs, kMaxRuns);
    with(ManyWeights{*operands.weights});
  }
}

// Rows, runs and the result, the same for every product kernel.
struct GemmShape {
  const void* x;
  int64_t x_stride;
  int64_t x_width;
  int64_t n_rows;
  const int32_t* run_start;
  int64_t n_runs;
  int64_t pitch;
  int64_t out_features;
  const float* bias;
  void* out;
  int64_t out_stride;
  bool out_is_bf16;
};

inline GemmShape shape_of(const GemmOperands& operands) {
  return {.x = operands.x,
          .x_stride = operands.x_stride,
          .x_width = operands.x_width,
          .n_rows = operands.n_rows,
          .run_start = operands.run_start,
          .n_runs = operands.n_runs,
          .pitch = operands.pitch,
          .out_features = operands.out_features,
          .bias = operands.bias,
          .out = operands.out,
          .out_stride = operands.out_stride,
          .out_is_bf16 = operands.out_dtype == DType::kBF16};
}

__device__ __forceinline__ void store_result(const GemmShape& p, int64_t run, int64_t row,
                                             int64_t out, float sum) {
  if (p.bias != nullptr) sum += p.bias[run * p.out_features + out];
  const int64_t at = row * p.out_stride + out;
  if (p.out_is_bf16) {
    static_cast<bf16*>(p.out)[at] = device_from_f32<bf16>(sum);
  } else {
    static_cast<float*>(p.out)[at] = sum;
  }
}

// The k order inside 32 inputs. A lane t of a quad loads the 8 inputs from 8 t on in one piece, and
// product s of two takes its words 2 s and 2 s + 1: weights and x agree on it, so that the sum is
// the same set of terms (fragment layouts: PTX ISA, mma.m16n8k16).
__device__ __forceinline__ uint32_t word_of(const uint4& piece, int i) {
  return i == 0 ? piece.x : (i == 1 ? piece.y : (i == 2 ? piece.z : piece.w));
}

// sum[16 outputs x 8 rows] += weights * x over 32 inputs: `low` and `high` are pieces of the weight
// rows lane / 4 and lane / 4 + 8, `x` of row lane / 4 of x.
__device__ __forceinline__ void multiply_32(float (&sum)[4], const uint4& low, const uint4& high,
                                            const uint4& x) {
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const uint32_t a[4] = {word_of(low, 2 * s), word_of(high, 2 * s), word_of(low, 2 * s + 1),
                           word_of(high, 2 * s + 1)};
    const uint32_t b[2] = {word_of(x, 2 * s), word_of(x, 2 * s + 1)};
    mma_16x8x16(sum, a, b);
  }
}

// The piece of x at column k, or zeros outside of x.
__device__ __forceinline__ uint4 load_x(const bf16* row, int64_t k, int64_t width) {
  if (row == nullptr || k >= width) return uint4{0, 0, 0, 0};
  return *reinterpret_cast<const uint4*>(row + k);
}

}  // namespace trireme::kernels::cuda
