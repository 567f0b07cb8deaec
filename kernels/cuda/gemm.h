// Products of activations with packed weights, plain or grouped by runs of rows (experts).
//
// Three kernels of ours and one library: `small_gemm` for a few rows per weight (memory bound: it
// reads each weight once, in 16-byte pieces, and splits the sum over blocks where outputs are few),
// `tile_gemm` for many rows on the tensor cores, `plain_gemm` for f32 arithmetic and the exactness
// of goldens, and cuBLASLt (large_gemm.h) for many rows of one weight. Weights are [out, pitch]
// with zeros from `in` to the pitch.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch_shape.h"
#include "kernels/dtype.h"
#include "kernels/tensor.h"

namespace trireme::kernels::cuda {

struct Launcher;

// A weight row is padded to whole chunks, so that the kernels have no tail of it.
inline constexpr int64_t kChunk = 64;
// Weights of one grouped product travel in the kernel's parameters.
inline constexpr int64_t kMaxRuns = 384;

struct WeightTable {
  const void* at[kMaxRuns];
};

struct GemmOperands {
  const void* x = nullptr;
  DType x_dtype = DType::kBF16;
  int64_t x_stride = 0;
  int64_t x_width = 0;  // columns of x that hold values; a multiple of 8 for the bf16 kernels
  int64_t n_rows = 0;

  const int32_t* run_start = nullptr;  // [n_runs + 1] on the device; nullptr: one run
  int64_t n_runs = 0;
  const void* weight = nullptr;          // of the one run
  const WeightTable* weights = nullptr;  // of the runs
  DType weight_dtype = DType::kBF16;
  int64_t pitch = 0;
  int64_t out_features = 0;

  const float* bias = nullptr;  // [n_runs or 1, out]
  void* out = nullptr;
  DType out_dtype = DType::kF32;
  int64_t out_stride = 0;
};

// Device memory that split products meet in.
struct GemmWorkspace {
  float* partials = nullptr;
  int64_t n_partials = 0;
  unsigned* counters = nullptr;  // zero between calls
  int64_t n_counters = 0;
  // The sum of a row is cut alike whatever the number of rows.
  bool one_order = false;
};

// Calls `multiply` on up to `at_once` rows of the operands at a time.
template <typename Multiply>
void each_part(const GemmOperands& operands, int64_t at_once, Multiply&& multiply) {
  const auto x_row = static_cast<size_t>(operands.x_stride) * size_of(operands.x_dtype);
  const auto out_row = static_cast<size_t>(operands.out_stride) * size_of(operands.out_dtype);
  for (int64_t first = 0; first < operands.n_rows; first += at_once) {
    GemmOperands part = operands;
    part.n_rows = operands.n_rows - first < at_once ? operands.n_rows - first : at_once;
    part.x = static_cast<const char*>(operands.x) + static_cast<size_t>(first) * x_row;
    part.out = static_cast<char*>(operands.out) + static_cast<size_t>(first) * out_row;
    multiply(part);
  }
}

// How small_gemm is cut. Pure.
struct SmallGemmPlan {
  int rows_per_tile = 8;  // 8 or 16
  int n_warps = 1;        // of a block; they share 16 outputs and split the sum
  int n_splits = 1;       // blocks that share 16 outputs
  int64_t n_out_tiles = 0;
  int64_t n_slots = 0;
};
SmallGemmPlan plan_small_gemm(const GemmOperands& operands, int n_multiprocessors,
                              const GemmWorkspace& workspace);
// Rows of one weight that small_gemm takes in a call where splits are not chosen by them.
int64_t small_gemm_rows_at_once(const GemmOperands& operands, int n_multiprocessors,
                                const GemmWorkspace& workspace);

// Up to this many rows of one weight, small_gemm reads less than it computes.
inline constexpr int64_t kMaxSmallRows = 16;

// x and weights bf16; x aligned to 16 bytes, its stride a multiple of 8.
void small_gemm(const GemmOperands& operands, const GemmWorkspace& workspace,
                const Launcher& launcher);
void tile_gemm(const GemmOperands& operands, const Launcher& launcher);
// x and weights f32 or bf16, any alignment; sums in f32 in the order of k.
void plain_gemm(const GemmOperands& operands, const Launcher& launcher);
// out[i, o] += bias[o], behind cuBLASLt.
void add_bias(const GemmOperands& operands, const Launcher& launcher);

}  // namespace trireme::kernels::cuda
