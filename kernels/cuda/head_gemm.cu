// A warp makes 16 outputs of one head for up to 32 rows on the tensor cores, its fragments straight
// from global memory: heads are many and their matrices small, so that neither inputs nor rows are
// worth a split.
#include "kernels/cuda/gemm_device.h"
#include "kernels/cuda/head_gemm.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kOuts = 16;           // of a warp
constexpr int kTiles = 4;           // of 8 rows, in a block
constexpr int kPlainThreads = 128;  // an output each

struct HeadGemmParams {
  GemmShape shape;  // of head 0
  int64_t x_head_stride;
  int64_t out_head_stride;
  WeightTable weights;
};

// The shape of the block's head.
__device__ __forceinline__ GemmShape shape_of_head(const HeadGemmParams& p, int64_t head,
                                                   int64_t x_size) {
  GemmShape shape = p.shape;
  shape.x = static_cast<const unsigned char*>(shape.x) + head * p.x_head_stride * x_size;
  shape.out = static_cast<unsigned char*>(shape.out) +
              head * p.out_head_stride * (shape.out_is_bf16 ? 2 : 4);
  return shape;
}

__global__ void __launch_bounds__(kWarps* kWarpSize) head_gemm_kernel(HeadGemmParams p) {
  const int64_t head = blockIdx.z;
  const GemmShape shape = shape_of_head(p, head, sizeof(bf16));
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group = lane / 4;
  const int64_t in_lane = lane % 4 * 8;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * (kTiles * 8);
  const int64_t first_out =
      (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize) * kOuts;
  if (first_out >= shape.out_features) return;
  const int64_t last_out = shape.out_features - 1;
  const int64_t out = first_out + group;
  const auto* weight = static_cast<const bf16*>(p.weights.at[head]);
  // Outputs beyond the last read the last one's weights, and are not stored.
  const bf16* low = weight + (out < last_out ? out : last_out) * shape.pitch + in_lane;
  const bf16* high = weight + (out + 8 < last_out ? out + 8 : last_out) * shape.pitch + in_lane;
  const bf16* x[kTiles];
  for (int i = 0; i < kTiles; ++i) {
    const int64_t row = first_row + i * 8 + group;
    x[i] = row < shape.n_rows ? static_cast<const bf16*>(shape.x) + row * shape.x_stride + in_lane
                              : nullptr;
  }
  float sum[kTiles][4] = {};
  for (int64_t k = 0; k < shape.pitch; k += 32) {
    const uint4 a = load_cached(low + k);
    const uint4 b = load_cached(high + k);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      multiply_32(sum[i], a, b, load_x(x[i], k, shape.x_width - in_lane));
    }
  }
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t to = first_out + group + (e >= 2 ? 8 : 0);
      const int64_t row = first_row + i * 8 + lane % 4 * 2 + e % 2;
      if (row < shape.n_rows && to < shape.out_features) {
        store_result(shape, 0, row, to, sum[i][e]);
      }
    }
  }
}

template <typename X, typename W>
__global__ void plain_head_gemm_kernel(HeadGemmParams p) {
  const int64_t head = blockIdx.z;
  const GemmShape shape = shape_of_head(p, head, sizeof(X));
  const int64_t out = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (out >= shape.out_features) return;
  const W* weight = static_cast<const W*>(p.weights.at[head]) + out * shape.pitch;
  for (int64_t row = blockIdx.y; row < shape.n_rows; row += gridDim.y) {
    const X* x = static_cast<const X*>(shape.x) + row * shape.x_stride;
    float sum = 0;
    for (int64_t k = 0; k < shape.x_width; ++k) {
      sum += device_to_f32(x[k]) * device_to_f32(weight[k]);
    }
    store_result(shape, 0, row, out, sum);
  }
}

HeadGemmParams params_of(const HeadGemmOperands& operands) {
  CHECK_LE(operands.n_heads, kMaxRuns) << "heads of one rank";
  return {.shape = shape_of(operands.head),
          .x_head_stride = operands.x_head_stride,
          .out_head_stride = operands.out_head_stride,
          .weights = *operands.weights};
}

}  // namespace

LaunchShape head_gemm_shape(const HeadGemmOperands& operands) {
  return {.grid_x = ceil_div<int64_t>(operands.head.out_features, kWarps * kOuts),
          .grid_y = ceil_div<int64_t>(operands.head.n_rows, kTiles * 8),
          .grid_z = operands.n_heads,
          .block = kWarps * kWarpSize};
}

LaunchShape plain_head_gemm_shape(const HeadGemmOperands& operands) {
  const int64_t n_rows = operands.head.n_rows;
  return {.grid_x = ceil_div<int64_t>(operands.head.out_features, kPlainThreads),
          .grid_y = n_rows < kMaxGridYZ ? n_rows : kMaxGridYZ,
          .grid_z = operands.n_heads,
          .block = kPlainThreads};
}

bool head_gemm_takes(const HeadGemmOperands& operands) {
  const GemmOperands& head = operands.head;
  return head.x_dtype == DType::kBF16 && head.weight_dtype == DType::kBF16 &&
         head.x_width % 8 == 0 && head.x_stride % 8 == 0 && operands.x_head_stride % 8 == 0 &&
         reinterpret_cast<uintptr_t>(head.x) % 16 == 0 && head.pitch % kChunk == 0 &&
         head_gemm_shape(operands).grid_y <= kMaxGridYZ;
}

void head_gemm(const HeadGemmOperands& operands, const Launcher& launcher) {
  CHECK(head_gemm_takes(operands));
  launch(head_gemm_kernel, "head_gemm", head_gemm_shape(operands), launcher, params_of(operands));
}

void plain_head_gemm(const HeadGemmOperands& operands, const Launcher& launcher) {
  const bool x_bf16 = operands.head.x_dtype == DType::kBF16;
  const bool w_bf16 = operands.head.weight_dtype == DType::kBF16;
  auto* kernel =
      x_bf16
          ? (w_bf16 ? plain_head_gemm_kernel<bf16, bf16> : plain_head_gemm_kernel<bf16, float>)
          : (w_bf16 ? plain_head_gemm_kernel<float, bf16> : plain_head_gemm_kernel<float, float>);
  launch(kernel, "plain_head_gemm", plain_head_gemm_shape(operands), launcher, params_of(operands));
}

}  // namespace trireme::kernels::cuda
