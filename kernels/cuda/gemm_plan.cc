#include <algorithm>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/low_bit.h"
#include "kernels/cuda/row_tiles.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kMaxWarps = 8;
constexpr int kMaxSplits = 8;
constexpr int64_t kOutsPerTile = 16;

// Rounds of blocks that the busiest multiprocessor runs, in units of an unsplit block's work.
double rounds(int64_t n_blocks, int n_splits, int n_multiprocessors) {
  return static_cast<double>(ceil_div<int64_t>(n_blocks * n_splits, n_multiprocessors)) / n_splits;
}

// For `n_chunks` of a weight's inputs.
SmallGemmPlan plan_chunks(const GemmOperands& operands, int rows_per_tile, int64_t n_chunks,
                          int n_multiprocessors, const GemmWorkspace& workspace) {
  SmallGemmPlan plan;
  plan.rows_per_tile = rows_per_tile;
  plan.n_out_tiles = ceil_div(operands.out_features, kOutsPerTile);
  plan.n_slots = n_tile_slots(operands.n_rows, operands.n_runs, plan.rows_per_tile);
  plan.n_warps = static_cast<int>(std::clamp<int64_t>(n_chunks / 2, 1, kMaxWarps));
  if (workspace.one_order && operands.n_runs > 0) return plan;
  const int64_t n_blocks = plan.n_out_tiles * (workspace.one_order ? 1 : plan.n_slots);
  if (n_blocks == 0) return plan;
  const int64_t partials_per_block =
      kOutsPerTile * (workspace.one_order ? kMaxSmallRows : plan.rows_per_tile);
  double best = rounds(n_blocks, 1, n_multiprocessors);
  for (int n = 2; n <= kMaxSplits; ++n) {
    if (n_chunks < int64_t{2} * plan.n_warps * n) break;  // a warp has two chunks at least
    if (n_blocks > workspace.n_counters) break;
    if (n_blocks * n * partials_per_block > workspace.n_partials) break;
    // A split costs a round trip of partial sums: it has to gain something.
    if (const double now = rounds(n_blocks, n, n_multiprocessors); now < 0.95 * best) {
      best = now;
      plan.n_splits = n;
    }
  }
  return plan;
}

}  // namespace

SmallGemmPlan plan_small_gemm(const GemmOperands& operands, int n_multiprocessors,
                              const GemmWorkspace& workspace) {
  const int rows_per_tile = operands.n_runs == 0 && operands.n_rows > 8 ? 16 : 8;
  return plan_chunks(operands, rows_per_tile, operands.pitch / kChunk, n_multiprocessors,
                     workspace);
}

SmallGemmPlan plan_low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                                int n_multiprocessors, const GemmWorkspace& workspace) {
  const int64_t n_runs = operands.n_runs == 0 ? 1 : operands.n_runs;
  const int rows_per_tile = operands.n_rows > 8 * n_runs ? 16 : 8;
  return plan_chunks(operands, rows_per_tile, shape.pitch / low_bit_chunk(shape.code),
                     n_multiprocessors, workspace);
}

int64_t small_gemm_rows_at_once(const GemmOperands& operands, int n_multiprocessors,
                                const GemmWorkspace& workspace) {
  const SmallGemmPlan plan = plan_small_gemm(operands, n_multiprocessors, workspace);
  int64_t n_slots = kMaxGridYZ;
  if (plan.n_splits > 1) {
    n_slots = std::min(
        workspace.n_counters / plan.n_out_tiles,
        workspace.n_partials / (plan.n_out_tiles * plan.n_splits * kOutsPerTile * kMaxSmallRows));
  }
  return std::max<int64_t>(1, std::min(n_slots, kMaxGridYZ)) * kMaxSmallRows;
}

}  // namespace trireme::kernels::cuda
