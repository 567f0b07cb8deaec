// The frame of the kernels of a few rows: 16 outputs by 8 or 16 rows are a block's, whose warps
// take turns in the inputs, and several blocks may split these. A kernel brings a Sum, which adds
// one warp's part of them.
//
// The warps' sums meet in shared memory, in the warps' order. Where several blocks split the
// inputs, the last of them to finish adds their sums in the blocks' order: the same bits in every
// run.
#pragma once

#include "kernels/cuda/gemm_device.h"

namespace trireme::kernels::cuda {

inline constexpr int kMaxSumWarps = 8;

struct SplitSum {
  int n_splits;
  float* partials;  // [slot][out tile][split][elements]
  unsigned* counters;
};

// Where element e of a block's 16 x 8 tiles lies: e = (tile * 4 + register) * 32 + lane.
struct Element {
  int64_t out;
  int64_t row;
};
TRIREME_HD inline Element element_at(int e) {
  const int lane = e % kWarpSize;
  const int reg = e / kWarpSize % 4;
  return {lane / 4 + (reg >= 2 ? 8 : 0), e / (kWarpSize * 4) * 8 + lane % 4 * 2 + reg % 2};
}

template <int kTiles>
__device__ __forceinline__ void store_element(const GemmShape& shape, const RowTile& tile, int e,
                                              float total) {
  const Element at = element_at(e);
  const int64_t out = static_cast<int64_t>(blockIdx.x) * 16 + at.out;
  if (at.row < tile.n && out < shape.out_features) {
    store_result(shape, tile.run, tile.first + at.row, out, total);
  }
}

// Adds up the sums of all warps and splits, and stores the results. All threads of the block call
// it.
template <int kTiles>
__device__ __forceinline__ void store_sums(const GemmShape& shape, const SplitSum& split,
                                           const RowTile& tile, const float (&sum)[kTiles][4]) {
  constexpr int kElements = kTiles * 128;
  __shared__ float sums[kMaxSumWarps][kElements];
  __shared__ unsigned n_before;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
  for (int i = 0; i < kTiles * 4; ++i) sums[warp][i * kWarpSize + lane] = sum[i / 4][i % 4];
  block_sync();
  const int64_t block = static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x;
  float* partials = split.partials + block * split.n_splits * kElements;
  for (int e = static_cast<int>(threadIdx.x); e < kElements; e += static_cast<int>(blockDim.x)) {
    float total = 0;
    for (int w = 0; w < n_warps; ++w) total += sums[w][e];
    if (split.n_splits == 1) {
      store_element<kTiles>(shape, tile, e, total);
    } else {
      partials[blockIdx.z * kElements + e] = total;
    }
  }
  if (split.n_splits == 1) return;
  device_fence();
  block_sync();
  if (threadIdx.x == 0) n_before = atomic_increment(split.counters + block);
  block_sync();
  if (n_before + 1 != static_cast<unsigned>(split.n_splits)) return;
  device_fence();
  for (int e = static_cast<int>(threadIdx.x); e < kElements; e += static_cast<int>(blockDim.x)) {
    float total = 0;
    for (int s = 0; s < split.n_splits; ++s) total += load_fresh(partials + s * kElements + e);
    store_element<kTiles>(shape, tile, e, total);
  }
  if (threadIdx.x == 0) split.counters[block] = 0;
}

// Weights are whatever `View` says of them.
template <typename View, typename Weights>
struct SplitSumParams {
  GemmShape shape;
  SplitSum split;
  int64_t n_chunks;  // of a weight's inputs
  View view;
  Weights weights;
};

template <typename Sum, int kTiles, typename Weights>
__global__ void __launch_bounds__(kMaxSumWarps* kWarpSize)
    split_sum_kernel(SplitSumParams<typename Sum::View, Weights> p) {
  const RowTile tile =
      row_tile(p.shape.run_start, p.shape.n_rows, p.shape.n_runs, kTiles * 8, blockIdx.y);
  if (tile.n == 0) return;
  const int64_t first = p.n_chunks * blockIdx.z / p.split.n_splits;
  const int64_t end = p.n_chunks * (blockIdx.z + 1) / p.split.n_splits;
  float sum[kTiles][4] = {};
  // This warp's part of chunks [first, end).
  Sum::template add<kTiles>(p.shape, p.view, p.weights.of(tile.run), tile, first, end, sum);
  store_sums<kTiles>(p.shape, p.split, tile, sum);
}

template <typename Sum>
void split_sum_gemm(const char* name, const GemmOperands& operands, const SmallGemmPlan& plan,
                    int64_t n_chunks, const typename Sum::View& view,
                    const GemmWorkspace& workspace, const Launcher& launcher) {
  const LaunchShape shape{.grid_x = plan.n_out_tiles,
                          .grid_y = plan.n_slots,
                          .grid_z = plan.n_splits,
                          .block = plan.n_warps * kWarpSize};
  const SplitSum split{
      .n_splits = plan.n_splits, .partials = workspace.partials, .counters = workspace.counters};
  with_weights(operands, [&](const auto& weights) {
    using Weights = std::decay_t<decltype(weights)>;
    const SplitSumParams<typename Sum::View, Weights> params{shape_of(operands), split, n_chunks,
                                                             view, weights};
    launch(plan.rows_per_tile == 8 ? split_sum_kernel<Sum, 1, Weights>
                                   : split_sum_kernel<Sum, 2, Weights>,
           name, shape, launcher, params);
  });
}

}  // namespace trireme::kernels::cuda
