// Products in f32 on the plain cores: exact inputs, sums in the order of k, any shape and
// alignment. What goldens are compared with; the bf16 path uses the other kernels.
#include "kernels/cuda/gemm_device.h"
#include "kernels/cuda/low_bit_device.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kRows = 16;
constexpr int kOuts = 64;
constexpr int kDepth = 16;
constexpr int kThreads = 256;  // 16 x 16, each one row and four outputs

// One weight as f32, of a matrix of Ws or of codes.
template <typename W>
struct PlainReader {
  int64_t pitch;
  __device__ __forceinline__ float at(const void* weight, int64_t out, int64_t k) const {
    return device_to_f32(static_cast<const W*>(weight)[out * pitch + k]);
  }
};
template <LowBitCode kCode>
struct LowBitReader {
  LowBitView view;
  __device__ __forceinline__ float at(const void* weight, int64_t out, int64_t k) const {
    return low_bit_value<kCode>(view, static_cast<const uint8_t*>(weight), out, k);
  }
};

template <typename Reader, typename Weights>
struct PlainGemmParams {
  GemmShape shape;
  Reader reader;
  Weights weights;
};

template <typename X, typename Reader, typename Weights>
__global__ void __launch_bounds__(kThreads) plain_gemm_kernel(PlainGemmParams<Reader, Weights> p) {
  __shared__ float xs[kRows][kDepth + 1];
  __shared__ float ws[kOuts][kDepth + 1];
  const GemmShape& shape = p.shape;
  const RowTile tile = row_tile(shape.run_start, shape.n_rows, shape.n_runs, kRows, blockIdx.y);
  if (tile.n == 0) return;
  const void* weight = p.weights.of(tile.run);
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / 16;
  const int column = thread % 16;
  const int64_t first_out = static_cast<int64_t>(blockIdx.x) * kOuts;
  float sum[4] = {};
  for (int64_t k = 0; k < shape.x_width; k += kDepth) {
    block_sync();
    {
      const bool here = row < tile.n && k + column < shape.x_width;
      const auto* x = static_cast<const X*>(shape.x) + (tile.first + row) * shape.x_stride;
      xs[row][column] = here ? device_to_f32(x[k + column]) : 0.0f;
    }
    for (int i = 0; i < 4; ++i) {
      const int64_t out = first_out + row + i * 16;
      const bool here = out < shape.out_features && k + column < shape.x_width;
      ws[row + i * 16][column] = here ? p.reader.at(weight, out, k + column) : 0.0f;
    }
    block_sync();
    for (int d = 0; d < kDepth; ++d) {
      for (int i = 0; i < 4; ++i) sum[i] += xs[row][d] * ws[column + i * 16][d];
    }
  }
  if (row >= tile.n) return;
  for (int i = 0; i < 4; ++i) {
    const int64_t out = first_out + column + i * 16;
    if (out < shape.out_features) store_result(shape, tile.run, tile.first + row, out, sum[i]);
  }
}

template <typename X, typename Reader>
void start(const GemmOperands& operands, const Reader& reader, const Launcher& launcher) {
  const LaunchShape shape{.grid_x = ceil_div<int64_t>(operands.out_features, kOuts),
                          .grid_y = n_tile_slots(operands.n_rows, operands.n_runs, kRows),
                          .block = kThreads};
  with_weights(operands, [&](const auto& weights) {
    using Weights = std::decay_t<decltype(weights)>;
    launch(plain_gemm_kernel<X, Reader, Weights>, "plain_gemm", shape, launcher,
           PlainGemmParams<Reader, Weights>{shape_of(operands), reader, weights});
  });
}

struct BiasParams {
  GemmShape shape;
};

__global__ void add_bias_kernel(BiasParams p) {
  const int64_t out = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (out >= p.shape.out_features) return;
  for (int64_t row = blockIdx.y; row < p.shape.n_rows; row += gridDim.y) {
    const int64_t at = row * p.shape.out_stride + out;
    const float sum = p.shape.out_is_bf16 ? device_to_f32(static_cast<const bf16*>(p.shape.out)[at])
                                          : static_cast<const float*>(p.shape.out)[at];
    store_result(p.shape, 0, row, out, sum);
  }
}

}  // namespace

void plain_gemm(const GemmOperands& operands, const Launcher& launcher) {
  const bool x_bf16 = operands.x_dtype == DType::kBF16;
  const bool w_bf16 = operands.weight_dtype == DType::kBF16;
  if (x_bf16 && w_bf16) start<bf16>(operands, PlainReader<bf16>{operands.pitch}, launcher);
  if (x_bf16 && !w_bf16) start<bf16>(operands, PlainReader<float>{operands.pitch}, launcher);
  if (!x_bf16 && w_bf16) start<float>(operands, PlainReader<bf16>{operands.pitch}, launcher);
  if (!x_bf16 && !w_bf16) start<float>(operands, PlainReader<float>{operands.pitch}, launcher);
}

void plain_low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                        const Launcher& launcher) {
  const bool x_bf16 = operands.x_dtype == DType::kBF16;
  with_code(shape.code, [&](auto code) {
    const LowBitReader<decltype(code)::kValue> reader{view_of(shape)};
    x_bf16 ? start<bf16>(operands, reader, launcher) : start<float>(operands, reader, launcher);
  });
}

void add_bias(const GemmOperands& operands, const Launcher& launcher) {
  launch(add_bias_kernel, "add_bias",
         {.grid_x = ceil_div<int64_t>(operands.out_features, 256),
          .grid_y = operands.n_rows < kMaxGridYZ ? operands.n_rows : kMaxGridYZ,
          .block = 256},
         launcher, BiasParams{shape_of(operands)});
}

}  // namespace trireme::kernels::cuda
