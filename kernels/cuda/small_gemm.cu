// A few rows against a weight: bound by reading the weight once.
//
// A block makes 16 outputs for 8 or 16 rows. Its warps take turns in the inputs, 128 of them at a
// time; their sums meet in shared memory, in the warps' order. Where a weight has few outputs,
// several blocks split its inputs, and the last of them to finish adds their sums in the blocks'
// order: the same bits in every run.
#include "kernels/cuda/gemm_device.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kMaxWarps = 8;
constexpr int kChunksAtOnce = 2;

struct SmallGemmParams {
  GemmShape shape;
  int64_t n_chunks;
  int n_splits;
  float* partials;  // [slot][out tile][split][elements]
  unsigned* counters;
};

template <typename Weights>
struct WithWeights {
  SmallGemmParams p;
  Weights weights;
};

// Adds this warp's part of the sum, chunks [first, end).
template <int kTiles>
__device__ __forceinline__ void sum_chunks(const SmallGemmParams& p, const bf16* weight,
                                           const RowTile& tile, int64_t first, int64_t end,
                                           float (&sum)[kTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group = lane / 4;
  const int64_t in_lane = lane % 4 * 8;
  const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const int64_t last_out = p.shape.out_features - 1;
  const int64_t out = static_cast<int64_t>(blockIdx.x) * 16 + group;
  // Outputs beyond the last read the last one's weights, and are not stored.
  const bf16* low = weight + (out < last_out ? out : last_out) * p.shape.pitch + in_lane;
  const bf16* high = weight + (out + 8 < last_out ? out + 8 : last_out) * p.shape.pitch + in_lane;
  const bf16* x[kTiles];
  for (int i = 0; i < kTiles; ++i) {
    const int64_t row = i * 8 + group;
    x[i] = row < tile.n ? static_cast<const bf16*>(p.shape.x) +
                              (tile.first + row) * p.shape.x_stride + in_lane
                        : nullptr;
  }
  const int64_t width = p.shape.x_width - in_lane;
  for (int64_t c = first + threadIdx.x / kWarpSize * kChunksAtOnce; c < end;
       c += n_warps * kChunksAtOnce) {
    uint4 w[kChunksAtOnce][2][2];
    uint4 v[kChunksAtOnce][2][kTiles];
#pragma unroll
    for (int u = 0; u < kChunksAtOnce; ++u) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int64_t k = (c + u) * kChunk + h * 32;
        const bool here = c + u < end;
        w[u][h][0] = here ? load_stream(low + k) : uint4{0, 0, 0, 0};
        w[u][h][1] = here ? load_stream(high + k) : uint4{0, 0, 0, 0};
#pragma unroll
        for (int i = 0; i < kTiles; ++i) v[u][h][i] = load_x(here ? x[i] : nullptr, k, width);
      }
    }
#pragma unroll
    for (int u = 0; u < kChunksAtOnce; ++u) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) multiply_32(sum[i], w[u][h][0], w[u][h][1], v[u][h][i]);
      }
    }
  }
}

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
__device__ __forceinline__ void finish(const SmallGemmParams& p, const RowTile& tile, int e,
                                       float total) {
  const Element at = element_at(e);
  const int64_t out = static_cast<int64_t>(blockIdx.x) * 16 + at.out;
  if (at.row < tile.n && out < p.shape.out_features) {
    store_result(p.shape, tile.run, tile.first + at.row, out, total);
  }
}

template <int kTiles, typename Weights>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize) small_gemm_kernel(WithWeights<Weights> q) {
  constexpr int kElements = kTiles * 128;
  __shared__ float sums[kMaxWarps][kElements];
  __shared__ unsigned n_before;
  const SmallGemmParams& p = q.p;
  const RowTile tile =
      row_tile(p.shape.run_start, p.shape.n_rows, p.shape.n_runs, kTiles * 8, blockIdx.y);
  if (tile.n == 0) return;
  const int64_t first = p.n_chunks * blockIdx.z / p.n_splits;
  const int64_t end = p.n_chunks * (blockIdx.z + 1) / p.n_splits;
  float sum[kTiles][4] = {};
  sum_chunks<kTiles>(p, static_cast<const bf16*>(q.weights.of(tile.run)), tile, first, end, sum);

  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
  for (int i = 0; i < kTiles * 4; ++i) sums[warp][i * kWarpSize + lane] = sum[i / 4][i % 4];
  block_sync();
  const int64_t block = static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x;
  float* partials = p.partials + block * p.n_splits * kElements;
  for (int e = static_cast<int>(threadIdx.x); e < kElements; e += static_cast<int>(blockDim.x)) {
    float total = 0;
    for (int w = 0; w < n_warps; ++w) total += sums[w][e];
    if (p.n_splits == 1) {
      finish<kTiles>(p, tile, e, total);
    } else {
      partials[blockIdx.z * kElements + e] = total;
    }
  }
  if (p.n_splits == 1) return;
  device_fence();
  block_sync();
  if (threadIdx.x == 0) n_before = atomic_increment(p.counters + block);
  block_sync();
  if (n_before + 1 != static_cast<unsigned>(p.n_splits)) return;
  device_fence();
  for (int e = static_cast<int>(threadIdx.x); e < kElements; e += static_cast<int>(blockDim.x)) {
    float total = 0;
    for (int s = 0; s < p.n_splits; ++s) total += load_fresh(partials + s * kElements + e);
    finish<kTiles>(p, tile, e, total);
  }
  if (threadIdx.x == 0) p.counters[block] = 0;
}

template <typename Weights>
void start(const SmallGemmPlan& plan, const SmallGemmParams& params, const Weights& weights,
           const Launcher& launcher) {
  const LaunchShape shape{.grid_x = plan.n_out_tiles,
                          .grid_y = plan.n_slots,
                          .grid_z = plan.n_splits,
                          .block = plan.n_warps * kWarpSize};
  const WithWeights<Weights> all{params, weights};
  launch(plan.rows_per_tile == 8 ? small_gemm_kernel<1, Weights> : small_gemm_kernel<2, Weights>,
         "small_gemm", shape, launcher, all);
}

}  // namespace

void small_gemm(const GemmOperands& operands, const GemmWorkspace& workspace,
                const Launcher& launcher) {
  CHECK_EQ(operands.x_dtype, DType::kBF16);
  CHECK_EQ(operands.weight_dtype, DType::kBF16);
  CHECK_EQ(operands.x_width % 8, 0);
  CHECK_EQ(operands.pitch % kChunk, 0);
  const SmallGemmPlan plan = plan_small_gemm(operands, launcher.n_multiprocessors, workspace);
  const SmallGemmParams params{.shape = shape_of(operands),
                               .n_chunks = operands.pitch / kChunk,
                               .n_splits = plan.n_splits,
                               .partials = workspace.partials,
                               .counters = workspace.counters};
  if (operands.n_runs == 0) {
    start(plan, params, OneWeight{operands.weight}, launcher);
  } else {
    CHECK_LE(operands.n_runs, kMaxRuns);
    start(plan, params, ManyWeights{*operands.weights}, launcher);
  }
}

}  // namespace trireme::kernels::cuda
