// Many rows against a weight on the tensor cores: grouped products, and what cuBLASLt does not
// take.
//
// A block of four warps makes 128 outputs for 64 rows; a warp 64 by 32 of them. Fragments come
// straight from global memory in 16-byte pieces, and the first-level cache serves the warps that
// share them: a first version, without the copy engine and without wgmma.
#include "kernels/cuda/gemm_device.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kOutTiles = 4;  // of 16 outputs, in a warp
constexpr int kRowTiles = 4;  // of 8 rows, in a warp
constexpr int kBlockOuts = 2 * kOutTiles * 16;
constexpr int kBlockRows = 2 * kRowTiles * 8;

template <typename Weights>
struct TileGemmParams {
  GemmShape shape;
  Weights weights;
};

template <typename Weights>
__global__ void __launch_bounds__(4 * kWarpSize) tile_gemm_kernel(TileGemmParams<Weights> p) {
  const GemmShape& shape = p.shape;
  const RowTile tile =
      row_tile(shape.run_start, shape.n_rows, shape.n_runs, kBlockRows, blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group = lane / 4;
  const int64_t in_lane = lane % 4 * 8;
  const int64_t first_row = warp % 2 * (kRowTiles * 8);
  if (first_row >= tile.n) return;
  const int64_t first_out =
      static_cast<int64_t>(blockIdx.x) * kBlockOuts + warp / 2 * (kOutTiles * 16);
  if (first_out >= shape.out_features) return;

  const auto* weight = static_cast<const bf16*>(p.weights.of(tile.run));
  const int64_t last_out = shape.out_features - 1;
  const bf16* w[kOutTiles * 2];
  for (int i = 0; i < kOutTiles * 2; ++i) {
    const int64_t out = first_out + i * 8 + group;
    w[i] = weight + (out < last_out ? out : last_out) * shape.pitch + in_lane;
  }
  const bf16* x[kRowTiles];
  for (int i = 0; i < kRowTiles; ++i) {
    const int64_t row = first_row + i * 8 + group;
    x[i] = row < tile.n
               ? static_cast<const bf16*>(shape.x) + (tile.first + row) * shape.x_stride + in_lane
               : nullptr;
  }
  float sum[kOutTiles][kRowTiles][4] = {};
  for (int64_t k = 0; k < shape.pitch; k += 32) {
    uint4 a[kOutTiles * 2];
    uint4 b[kRowTiles];
#pragma unroll
    for (int i = 0; i < kOutTiles * 2; ++i) a[i] = *reinterpret_cast<const uint4*>(w[i] + k);
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) b[i] = load_x(x[i], k, shape.x_width - in_lane);
#pragma unroll
    for (int o = 0; o < kOutTiles; ++o) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) multiply_32(sum[o][r], a[2 * o], a[2 * o + 1], b[r]);
    }
  }
#pragma unroll
  for (int o = 0; o < kOutTiles; ++o) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t out = first_out + o * 16 + group + (i >= 2 ? 8 : 0);
        const int64_t row = first_row + r * 8 + lane % 4 * 2 + i % 2;
        if (row < tile.n && out < shape.out_features) {
          store_result(shape, tile.run, tile.first + row, out, sum[o][r][i]);
        }
      }
    }
  }
}

template <typename Weights>
void start(const GemmOperands& operands, const Weights& weights, const Launcher& launcher) {
  const LaunchShape shape{.grid_x = ceil_div<int64_t>(operands.out_features, kBlockOuts),
                          .grid_y = n_tile_slots(operands.n_rows, operands.n_runs, kBlockRows),
                          .block = 4 * kWarpSize};
  launch(tile_gemm_kernel<Weights>, "tile_gemm", shape, launcher,
         TileGemmParams<Weights>{shape_of(operands), weights});
}

}  // namespace

void tile_gemm(const GemmOperands& operands, const Launcher& launcher) {
  CHECK_EQ(operands.x_dtype, DType::kBF16);
  CHECK_EQ(operands.weight_dtype, DType::kBF16);
  CHECK_EQ(operands.x_width % 8, 0);
  CHECK_EQ(operands.pitch % kChunk, 0);
  if (operands.n_runs == 0) {
    start(operands, OneWeight{operands.weight}, launcher);
  } else {
    CHECK_LE(operands.n_runs, kMaxRuns);
    start(operands, ManyWeights{*operands.weights}, launcher);
  }
}

}  // namespace trireme::kernels::cuda
