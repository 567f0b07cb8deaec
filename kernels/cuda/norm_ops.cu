// Norms: of rows, alone and with the sum before them, and of heads. A block per row, or a warp per
// head, walks it twice or three times; the later walks find it in the cache.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/norm_device.h"
#include "kernels/cuda/vectors.h"

namespace trireme::kernels::cuda {
namespace {

struct NormParams {
  float* x;  // the residual stream, updated where there is a delta
  int64_t x_stride;
  const float* delta;  // or nullptr
  int64_t delta_stride;
  float delta_scale;
  const float* weight;
  void* out;
  int64_t out_stride;
  int64_t width;
  float eps;
};

template <typename Out, int kCount>
__global__ void rms_norm_kernel(NormParams p) {
  __shared__ float scratch[kWarpSize];
  float* x = p.x + blockIdx.x * p.x_stride;
  const int64_t step = static_cast<int64_t>(blockDim.x) * kCount;
  float sum = 0;
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * kCount; j < p.width; j += step) {
    auto values = load_vector<kCount>(x + j);
    if (p.delta != nullptr) {
      const auto delta = load_vector<kCount>(p.delta + blockIdx.x * p.delta_stride + j);
      for (int i = 0; i < kCount; ++i) {
        values.at[i] = add_scaled(values.at[i], p.delta_scale, delta.at[i]);
      }
      store_vector(x + j, values);
    }
    add_squares(values, sum);
  }
  const float inv_rms = inverse_rms(block_sum(sum, scratch), p.width, p.eps);
  Out* out = static_cast<Out*>(p.out) + blockIdx.x * p.out_stride;
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * kCount; j < p.width; j += step) {
    store_normed(load_vector<kCount>(x + j), inv_rms, p.weight + j, out + j);
  }
}

struct LayerNormParams {
  const float* x;
  int64_t x_stride;
  const float* weight;
  const float* bias;  // or nullptr
  void* out;
  int64_t out_stride;
  int64_t width;
  float eps;
};

template <typename Out>
__global__ void layer_norm_kernel(LayerNormParams p) {
  __shared__ float scratch[kWarpSize];
  const float* x = p.x + blockIdx.x * p.x_stride;
  const auto n = static_cast<float>(p.width);
  float sum = 0;
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) sum += x[j];
  const float mean = block_sum(sum, scratch) / n;
  sum = 0;
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) sum += (x[j] - mean) * (x[j] - mean);
  const float inv_deviation = 1.0f / sqrtf(block_sum(sum, scratch) / n + p.eps);
  Out* out = static_cast<Out*>(p.out) + blockIdx.x * p.out_stride;
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) {
    const float bias = p.bias == nullptr ? 0.0f : p.bias[j];
    out[j] = device_from_f32<Out>((x[j] - mean) * inv_deviation * p.weight[j] + bias);
  }
}

struct HeadNormParams {
  float* x;
  int64_t x_stride;
  int64_t n_tokens;
  int64_t n_heads;
  int64_t head_dim;
  const float* weight;    // or nullptr
  int64_t weight_stride;  // from head to head; 0: one weight for all
  float eps;
};

// A warp per head.
template <bool kCentered>
__global__ void head_norm_kernel(HeadNormParams p) {
  const int64_t head_of_all =
      static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarpSize) + threadIdx.x / kWarpSize;
  if (head_of_all >= p.n_tokens * p.n_heads) return;
  const int64_t head = head_of_all % p.n_heads;
  const int64_t lane = threadIdx.x % kWarpSize;
  float* x = p.x + head_of_all / p.n_heads * p.x_stride + head * p.head_dim;
  const auto n = static_cast<float>(p.head_dim);
  float mean = 0;
  if constexpr (kCentered) {
    for (int64_t c = lane; c < p.head_dim; c += kWarpSize) mean += x[c];
    mean = warp_sum(mean) / n;
  }
  float sum = 0;
  for (int64_t c = lane; c < p.head_dim; c += kWarpSize) sum += (x[c] - mean) * (x[c] - mean);
  const float inv = 1.0f / sqrtf(warp_sum(sum) / n + p.eps);
  for (int64_t c = lane; c < p.head_dim; c += kWarpSize) {
    const float weight = p.weight == nullptr ? 1.0f : p.weight[head * p.weight_stride + c];
    x[c] = (x[c] - mean) * inv * weight;
  }
}

template <typename Args>
HeadNormParams head_params(const Args& args) {
  const TensorView& weight = args.weight;
  return {.x = args.x.template as<float>(),
          .x_stride = args.x.row_stride,
          .n_tokens = args.x.dim(0),
          .n_heads = args.x.dim(1),
          .head_dim = args.x.dim(2),
          .weight = weight.defined() ? weight.template as<float>() : nullptr,
          .weight_stride = weight.defined() && weight.rank == 2 ? weight.row_stride : 0,
          .eps = args.eps};
}

LaunchShape head_shape(const HeadNormParams& params) {
  constexpr int kHeadsPerBlock = 4;
  return {.grid_x = ceil_div<int64_t>(params.n_tokens * params.n_heads, kHeadsPerBlock),
          .block = kHeadsPerBlock * kWarpSize};
}

struct SplitNormParams {
  float* x;
  int64_t x_stride;
  float* sum_squares;
  int64_t sum_stride;
  const float* weight;
  int64_t width;
  float total_width;
  float eps;
};

__global__ void row_sum_squares_kernel(SplitNormParams p) {
  __shared__ float scratch[kWarpSize];
  const float* x = p.x + blockIdx.x * p.x_stride;
  float sum = 0;
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) sum += x[j] * x[j];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) p.sum_squares[blockIdx.x * p.sum_stride] = sum;
}

__global__ void rms_norm_rows_kernel(SplitNormParams p) {
  float* x = p.x + blockIdx.x * p.x_stride;
  const float mean_square = p.sum_squares[blockIdx.x * p.sum_stride] / p.total_width;
  const float inv_rms = 1.0f / sqrtf(mean_square + p.eps);
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) x[j] = x[j] * inv_rms * p.weight[j];
}

void run(const NormParams& params, int64_t n_rows, DType out, bool vectors,
         const Launcher& launcher) {
  const int64_t n = vectors ? params.width / 4 : params.width;
  const LaunchShape shape{.grid_x = n_rows, .block = threads_for(n, 512)};
  auto* kernel = out == DType::kBF16
                     ? (vectors ? rms_norm_kernel<bf16, 4> : rms_norm_kernel<bf16, 1>)
                     : (vectors ? rms_norm_kernel<float, 4> : rms_norm_kernel<float, 1>);
  launch(kernel, "rms_norm", shape, launcher, params);
}

}  // namespace

void rms_norm(const RmsNormArgs& args, const Launcher& launcher) {
  const NormParams params{.x = args.x.as<float>(),
                          .x_stride = args.x.row_stride,
                          .weight = args.weight.as<float>(),
                          .out = args.out.data,
                          .out_stride = args.out.row_stride,
                          .width = args.x.dim(1),
                          .eps = args.eps};
  run(params, args.x.dim(0), args.out.dtype,
      takes_vectors(args.x) && takes_vectors(args.out) &&
          reinterpret_cast<uintptr_t>(args.weight.data) % 16 == 0,
      launcher);
}

void add_rms_norm(const AddRmsNormArgs& args, const Launcher& launcher) {
  const NormParams params{.x = args.residual.as<float>(),
                          .x_stride = args.residual.row_stride,
                          .delta = args.delta.as<float>(),
                          .delta_stride = args.delta.row_stride,
                          .delta_scale = args.delta_scale,
                          .weight = args.weight.as<float>(),
                          .out = args.out.data,
                          .out_stride = args.out.row_stride,
                          .width = args.residual.dim(1),
                          .eps = args.eps};
  run(params, args.residual.dim(0), args.out.dtype,
      takes_vectors(args.residual) && takes_vectors(args.delta) && takes_vectors(args.out) &&
          reinterpret_cast<uintptr_t>(args.weight.data) % 16 == 0,
      launcher);
}

void layer_norm(const LayerNormArgs& args, const Launcher& launcher) {
  const LayerNormParams params{.x = args.x.as<float>(),
                               .x_stride = args.x.row_stride,
                               .weight = args.weight.as<float>(),
                               .bias = args.bias.defined() ? args.bias.as<float>() : nullptr,
                               .out = args.out.data,
                               .out_stride = args.out.row_stride,
                               .width = args.x.dim(1),
                               .eps = args.eps};
  launch(args.out.dtype == DType::kBF16 ? layer_norm_kernel<bf16> : layer_norm_kernel<float>,
         "layer_norm", {.grid_x = args.x.dim(0), .block = threads_for(params.width, 512)}, launcher,
         params);
}

void head_rms_norm(const HeadRmsNormArgs& args, const Launcher& launcher) {
  const HeadNormParams params = head_params(args);
  launch(head_norm_kernel<false>, "head_rms_norm", head_shape(params), launcher, params);
}

void head_layer_norm(const HeadLayerNormArgs& args, const Launcher& launcher) {
  const HeadNormParams params = head_params(args);
  launch(head_norm_kernel<true>, "head_layer_norm", head_shape(params), launcher, params);
}

void row_sum_squares(const RowSumSquaresArgs& args, const Launcher& launcher) {
  const SplitNormParams params{.x = args.x.as<float>(),
                               .x_stride = args.x.row_stride,
                               .sum_squares = args.out.as<float>(),
                               .sum_stride = args.out.row_stride,
                               .width = args.x.dim(1)};
  launch(row_sum_squares_kernel, "row_sum_squares",
         {.grid_x = args.x.dim(0), .block = threads_for(params.width, 512)}, launcher, params);
}

void rms_norm_rows(const RmsNormRowsArgs& args, const Launcher& launcher) {
  const SplitNormParams params{.x = args.x.as<float>(),
                               .x_stride = args.x.row_stride,
                               .sum_squares = args.sum_squares.as<float>(),
                               .sum_stride = args.sum_squares.row_stride,
                               .weight = args.weight.as<float>(),
                               .width = args.x.dim(1),
                               .total_width = static_cast<float>(args.total_width),
                               .eps = args.eps};
  launch(rms_norm_rows_kernel, "rms_norm_rows",
         {.grid_x = args.x.dim(0), .block = threads_for(params.width, 512)}, launcher, params);
}

}  // namespace trireme::kernels::cuda
