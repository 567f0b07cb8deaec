// A few rows against a weight: bound by reading the weight once.
//
// A block makes 16 outputs for 8 or 16 rows. Its warps take turns in the inputs, 128 of them at a
// time. Where a weight has few outputs, several blocks split its inputs (split_sum.h).
#include "kernels/cuda/split_sum.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kChunksAtOnce = 2;

struct SmallSum {
  struct View {};

  template <int kTiles>
  static __device__ __forceinline__ void add(const GemmShape& shape, const View&,
                                             const void* weight_data, const RowTile& tile,
                                             int64_t first, int64_t end, float (&sum)[kTiles][4]) {
    const auto* weight = static_cast<const bf16*>(weight_data);
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const int group = lane / 4;
    const int64_t in_lane = lane % 4 * 8;
    const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
    const int64_t last_out = shape.out_features - 1;
    const int64_t out = static_cast<int64_t>(blockIdx.x) * 16 + group;
    // Outputs beyond the last read the last one's weights, and are not stored.
    const bf16* low = weight + (out < last_out ? out : last_out) * shape.pitch + in_lane;
    const bf16* high = weight + (out + 8 < last_out ? out + 8 : last_out) * shape.pitch + in_lane;
    const bf16* x[kTiles];
    for (int i = 0; i < kTiles; ++i) {
      const int64_t row = i * 8 + group;
      x[i] = row < tile.n
                 ? static_cast<const bf16*>(shape.x) + (tile.first + row) * shape.x_stride + in_lane
                 : nullptr;
    }
    const int64_t width = shape.x_width - in_lane;
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
};

}  // namespace

void small_gemm(const GemmOperands& operands, const GemmWorkspace& workspace,
                const Launcher& launcher) {
  CHECK_EQ(operands.x_dtype, DType::kBF16);
  CHECK_EQ(operands.weight_dtype, DType::kBF16);
  CHECK_EQ(operands.x_width % 8, 0);
  CHECK_EQ(operands.pitch % kChunk, 0);
  const SmallGemmPlan plan = plan_small_gemm(operands, launcher.n_multiprocessors, workspace);
  split_sum_gemm<SmallSum>("small_gemm", operands, plan, operands.pitch / kChunk, {}, workspace,
                           launcher);
}

}  // namespace trireme::kernels::cuda
