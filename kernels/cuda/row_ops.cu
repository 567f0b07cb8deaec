// Ops on whole rows, elementwise and by reduction. A block per row, or a stretch of it.
#include <cmath>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/vectors.h"

namespace trireme::kernels::cuda {
namespace {

struct EmbeddingParams {
  const int32_t* ids;
  const void* table;
  int64_t table_stride;
  int64_t n_table_rows;
  int32_t first_id;
  float* out;
  int64_t out_stride;
  int64_t n_rows;
  int64_t width;
};

template <typename T>
__global__ void embedding_kernel(EmbeddingParams p) {
  each_element(p.n_rows, p.width, [&](int64_t i, int64_t j) {
    const int64_t row = static_cast<int64_t>(p.ids[i]) - p.first_id;
    const bool here = row >= 0 && row < p.n_table_rows;
    p.out[i * p.out_stride + j] =
        here ? device_to_f32(static_cast<const T*>(p.table)[row * p.table_stride + j]) : 0.0f;
  });
}

struct AddParams {
  const float* x;
  int64_t x_stride;
  float* y;
  int64_t y_stride;
  float scale;
  int64_t n_rows;
  int64_t width;
};

template <int kCount>
__global__ void add_kernel(AddParams p) {
  each_element(p.n_rows, p.width / kCount, [&](int64_t i, int64_t j) {
    const auto x = load_vector<kCount>(p.x + i * p.x_stride + j * kCount);
    float* to = p.y + i * p.y_stride + j * kCount;
    auto y = load_vector<kCount>(to);
    for (int c = 0; c < kCount; ++c) y.at[c] = add_scaled(y.at[c], p.scale, x.at[c]);
    store_vector(to, y);
  });
}

struct GatherParams {
  const float* x;
  int64_t x_stride;
  const int32_t* rows;
  float* out;
  int64_t out_stride;
  int64_t n_rows;
  int64_t width;
};

__global__ void gather_rows_kernel(GatherParams p) {
  each_element(p.n_rows, p.width, [&](int64_t i, int64_t j) {
    p.out[i * p.out_stride + j] = p.x[p.rows[i] * p.x_stride + j];
  });
}

struct ConvertParams {
  const void* from;
  int64_t from_stride;
  void* to;
  int64_t to_stride;
  int64_t n_rows;
  int64_t from_width;
  int64_t to_width;
};

template <typename From, typename To>
__global__ void convert_kernel(ConvertParams p) {
  each_element(p.n_rows, p.to_width, [&](int64_t i, int64_t j) {
    const float value = j < p.from_width
                            ? device_to_f32(static_cast<const From*>(p.from)[i * p.from_stride + j])
                            : 0.0f;
    static_cast<To*>(p.to)[i * p.to_stride + j] = device_from_f32<To>(value);
  });
}

struct MaxSumExpParams {
  const float* x;
  int64_t x_stride;
  int64_t width;
  const int32_t* rows;               // or nullptr: all
  const float* inverse_temperature;  // or nullptr: 1
  float* max;
  float* sum_exp;
};

// The sum is in f64 within a thread, and its rounding errors are summed beside it: next to a sum
// near 1 the tail of a large vocabulary would be rounded away.
__global__ void row_max_sum_exp_kernel(MaxSumExpParams p) {
  __shared__ float scratch[kWarpSize];
  const int64_t row = p.rows == nullptr ? blockIdx.x : p.rows[blockIdx.x];
  const float* x = p.x + row * p.x_stride;
  const float inverse = p.inverse_temperature == nullptr ? 1.0f : p.inverse_temperature[blockIdx.x];
  float max = -INFINITY;
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) max = fmaxf(max, x[j]);
  max = block_max(max, scratch);
  double sum = 0;
  if (max != -INFINITY) {
    for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) sum += expf((x[j] - max) * inverse);
  }
  const float high = static_cast<float>(sum);
  const float low = static_cast<float>(sum - high);
  const float total = block_sum(high, scratch) + block_sum(low, scratch);
  if (threadIdx.x == 0) {
    p.max[blockIdx.x] = max;
    p.sum_exp[blockIdx.x] = total;
  }
}

template <typename From>
void convert_from(const ConvertParams& params, DType to, const Launcher& launcher) {
  auto* kernel = to == DType::kBF16  ? convert_kernel<From, bf16>
                 : to == DType::kF16 ? convert_kernel<From, f16>
                                     : convert_kernel<From, float>;
  launch(kernel, "convert", elementwise_shape(params.n_rows, params.to_width), launcher, params);
}

}  // namespace

void embedding(const EmbeddingArgs& args, const Launcher& launcher) {
  const EmbeddingParams params{.ids = args.ids.as<int32_t>(),
                               .table = args.table.data,
                               .table_stride = args.table.row_stride,
                               .n_table_rows = args.table.dim(0),
                               .first_id = args.first_id,
                               .out = args.out.as<float>(),
                               .out_stride = args.out.row_stride,
                               .n_rows = args.ids.dim(0),
                               .width = args.out.dim(1)};
  auto* kernel = args.table.dtype == DType::kF32    ? embedding_kernel<float>
                 : args.table.dtype == DType::kBF16 ? embedding_kernel<bf16>
                                                    : embedding_kernel<f16>;
  launch(kernel, "embedding", elementwise_shape(params.n_rows, params.width), launcher, params);
}

void add(const AddArgs& args, const Launcher& launcher) {
  const AddParams params{.x = args.x.as<float>(),
                         .x_stride = args.x.row_stride,
                         .y = args.y.as<float>(),
                         .y_stride = args.y.row_stride,
                         .scale = args.scale,
                         .n_rows = args.x.dim(0),
                         .width = args.x.dim(1)};
  const bool vectors = takes_vectors(args.x) && takes_vectors(args.y);
  launch(vectors ? add_kernel<4> : add_kernel<1>, "add",
         elementwise_shape(params.n_rows, vectors ? params.width / 4 : params.width), launcher,
         params);
}

void gather_rows(const GatherRowsArgs& args, const Launcher& launcher) {
  const GatherParams params{.x = args.x.as<float>(),
                            .x_stride = args.x.row_stride,
                            .rows = args.rows.as<int32_t>(),
                            .out = args.out.as<float>(),
                            .out_stride = args.out.row_stride,
                            .n_rows = args.rows.dim(0),
                            .width = args.x.dim(1)};
  launch(gather_rows_kernel, "gather_rows", elementwise_shape(params.n_rows, params.width),
         launcher, params);
}

void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, const Launcher& launcher) {
  const MaxSumExpParams params{.x = args.x.as<float>(),
                               .x_stride = args.x.row_stride,
                               .width = args.x.dim(1),
                               .rows = args.rows.defined() ? args.rows.as<int32_t>() : nullptr,
                               .inverse_temperature = args.inverse_temperature.defined()
                                                          ? args.inverse_temperature.as<float>()
                                                          : nullptr,
                               .max = args.max.as<float>(),
                               .sum_exp = args.sum_exp.as<float>()};
  launch(row_max_sum_exp_kernel, "row_max_log_sum_exp",
         {.grid_x = args.max.dim(0), .block = threads_for(params.width, 1024)}, launcher, params);
}

void convert(const TensorView& from, const TensorView& to, const Launcher& launcher) {
  const ConvertParams params{.from = from.data,
                             .from_stride = from.row_stride,
                             .to = to.data,
                             .to_stride = to.row_stride,
                             .n_rows = from.dim(0),
                             .from_width = from.dim(1),
                             .to_width = to.dim(1)};
  if (from.dtype == DType::kF32) convert_from<float>(params, to.dtype, launcher);
  if (from.dtype == DType::kF16) convert_from<f16>(params, to.dtype, launcher);
  if (from.dtype == DType::kBF16) convert_from<bf16>(params, to.dtype, launcher);
}

}  // namespace trireme::kernels::cuda
