// A few rows against a weight of low-bit codes: bound by reading the codes once.
//
// As small_gemm: a block makes 16 outputs for 8 or 16 rows, and its warps take turns in the inputs.
// A lane reads 16 bytes of codes of each of two outputs, makes bf16 of them, exactly, 8 inputs at a
// time, and the tensor cores sum the products of one group of inputs in f32; a group's sum times
// its scale goes to the result.
#include "kernels/cuda/low_bit_codes.h"
#include "kernels/cuda/split_sum.h"
#include "kernels/cuda/vectors.h"

namespace trireme::kernels::cuda {
namespace {

template <typename Codes>
struct LowBitSum {
  using View = LowBitView;

  template <int kTiles>
  static __device__ __forceinline__ void add(const GemmShape& shape, const LowBitView& view,
                                             const void* weight_data, const RowTile& tile,
                                             int64_t first, int64_t end, float (&sum)[kTiles][4]) {
    const auto* weight = static_cast<const uint8_t*>(weight_data);
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const int group = lane / 4;
    const int in_quad = lane % 4;
    const int n_warps = static_cast<int>(blockDim.x) / kWarpSize;
    const int64_t last_out = shape.out_features - 1;
    const int64_t out = static_cast<int64_t>(blockIdx.x) * 16 + group;
    // Outputs beyond the last read the last one's weights, and are not stored.
    const int64_t out_low = out < last_out ? out : last_out;
    const int64_t out_high = out + 8 < last_out ? out + 8 : last_out;
    const uint8_t* low = weight + out_low * view.row_bytes + in_quad * 16;
    const uint8_t* high = weight + out_high * view.row_bytes + in_quad * 16;
    const bf16* x[kTiles];
    for (int i = 0; i < kTiles; ++i) {
      const int64_t row = i * 8 + group;
      x[i] = row < tile.n ? static_cast<const bf16*>(shape.x) + (tile.first + row) * shape.x_stride
                          : nullptr;
    }
    constexpr int kChunksAtOnce = 2;
    constexpr int kStepsOfScale = Codes::kSteps / Codes::kScales;
    for (int64_t c = first + threadIdx.x / kWarpSize * kChunksAtOnce; c < end;
         c += n_warps * kChunksAtOnce) {
      uint4 w[kChunksAtOnce][2];
      CodeScale s[kChunksAtOnce][2][Codes::kScales];
#pragma unroll
      for (int u = 0; u < kChunksAtOnce; ++u) {
        // Behind the end the last chunk is read again, and multiplied by zeros.
        const int64_t chunk = c + u < end ? c + u : end - 1;
        w[u][0] = load_stream(low + chunk * 64);
        w[u][1] = load_stream(high + chunk * 64);
#pragma unroll
        for (int g = 0; g < Codes::kScales; ++g) {
          s[u][0][g] = load_scale<Codes>(view, weight, out_low, chunk, g);
          s[u][1][g] = load_scale<Codes>(view, weight, out_high, chunk, g);
        }
      }
#pragma unroll
      for (int u = 0; u < kChunksAtOnce; ++u) {
        const bool here = c + u < end;
#pragma unroll
        for (int g = 0; g < Codes::kScales; ++g) {
          float part[kTiles][4] = {};
#pragma unroll
          for (int i = 0; i < kStepsOfScale; ++i) {
            const int step = g * kStepsOfScale + i;
            const int64_t k = (c + u) * (Codes::kSteps * 32) + Codes::input_of(step, in_quad);
            const uint4 a = Codes::weights(w[u][0], step, s[u][0][g].minus);
            const uint4 b = Codes::weights(w[u][1], step, s[u][1][g].minus);
#pragma unroll
            for (int t = 0; t < kTiles; ++t) {
              multiply_32(part[t], a, b, load_x(here ? x[t] : nullptr, k, shape.x_width));
            }
          }
#pragma unroll
          for (int t = 0; t < kTiles; ++t) {
#pragma unroll
            for (int r = 0; r < 4; ++r) sum[t][r] += part[t][r] * s[u][r / 2][g].scale;
          }
        }
      }
    }
  }
};

constexpr int kExpandThreads = 256;

struct ExpandParams {
  const uint8_t* weight;
  LowBitView view;
  int64_t first;
  int64_t pitch;
  bf16* to;
};

// A thread makes eight inputs of one output.
template <LowBitCode kCode>
__global__ void __launch_bounds__(kExpandThreads) expand_kernel(ExpandParams p) {
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (begin >= p.pitch) return;
  const int64_t out = p.first + blockIdx.y;
  Vector<bf16, 8> weights;
  for (int j = 0; j < 8; ++j) {
    weights.at[j] = device_from_f32<bf16>(low_bit_value<kCode>(p.view, p.weight, out, begin + j));
  }
  store_vector(p.to + static_cast<int64_t>(blockIdx.y) * p.pitch + begin, weights);
}

template <typename Weights>
struct OrderParams {
  GemmShape shape;
  Weights weights;
  int64_t order_at;
  int64_t in_features;
  void* to;
  int64_t to_stride;
};

template <typename From, typename To, typename Weights>
__global__ void __launch_bounds__(kExpandThreads) order_kernel(OrderParams<Weights> p) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= p.to_stride) return;
  for (int64_t row = blockIdx.y; row < p.shape.n_rows; row += gridDim.y) {
    const int64_t run =
        p.shape.n_runs == 0 ? 0 : run_of_row(p.shape.run_start, p.shape.n_runs, row);
    const auto* order = reinterpret_cast<const int32_t*>(
        static_cast<const uint8_t*>(p.weights.of(run)) + p.order_at);
    float value = 0;
    if (column < p.in_features) {
      value = device_to_f32(
          static_cast<const From*>(p.shape.x)[row * p.shape.x_stride + order[column]]);
    }
    static_cast<To*>(p.to)[row * p.to_stride + column] = device_from_f32<To>(value);
  }
}

template <typename Weights>
void start_order(const GemmOperands& operands, const OrderParams<Weights>& params, DType to_dtype,
                 const Launcher& launcher) {
  const LaunchShape shape{.grid_x = ceil_div<int64_t>(params.to_stride, kExpandThreads),
                          .grid_y = operands.n_rows < kMaxGridYZ ? operands.n_rows : kMaxGridYZ,
                          .block = kExpandThreads};
  const bool from_bf16 = operands.x_dtype == DType::kBF16;
  if (to_dtype == DType::kBF16) {
    launch(from_bf16 ? order_kernel<bf16, bf16, Weights> : order_kernel<float, bf16, Weights>,
           "order_inputs", shape, launcher, params);
  } else {
    launch(from_bf16 ? order_kernel<bf16, float, Weights> : order_kernel<float, float, Weights>,
           "order_inputs", shape, launcher, params);
  }
}

}  // namespace

void low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                  const GemmWorkspace& workspace, const Launcher& launcher) {
  CHECK_EQ(operands.x_dtype, DType::kBF16);
  CHECK_EQ(operands.x_width % 8, 0);
  const SmallGemmPlan plan =
      plan_low_bit_gemm(operands, shape, launcher.n_multiprocessors, workspace);
  CHECK(operands.n_runs > 0 || operands.n_rows <= kMaxSmallRows);
  const int64_t n_chunks = shape.pitch / low_bit_chunk(shape.code);
  with_codes(shape, [&](auto codes) {
    split_sum_gemm<LowBitSum<decltype(codes)>>("low_bit_gemm", operands, plan, n_chunks,
                                               view_of(shape), workspace, launcher);
  });
}

void expand_low_bit(const void* weight, const LowBitShape& shape, int64_t first, int64_t n,
                    void* to, const Launcher& launcher) {
  const ExpandParams params{.weight = static_cast<const uint8_t*>(weight),
                            .view = view_of(shape),
                            .first = first,
                            .pitch = shape.pitch,
                            .to = static_cast<bf16*>(to)};
  const LaunchShape grid{.grid_x = ceil_div<int64_t>(shape.pitch / 8, kExpandThreads),
                         .grid_y = n,
                         .block = kExpandThreads};
  with_code(shape.code, [&](auto code) {
    launch(expand_kernel<decltype(code)::kValue>, "expand_low_bit", grid, launcher, params);
  });
}

void order_inputs(const GemmOperands& operands, const LowBitShape& shape, void* to, DType to_dtype,
                  int64_t to_stride, const Launcher& launcher) {
  with_weights(operands, [&](const auto& weights) {
    using Weights = std::decay_t<decltype(weights)>;
    start_order<Weights>(operands,
                         {.shape = shape_of(operands),
                          .weights = weights,
                          .order_at = shape.order_at,
                          .in_features = shape.in_features,
                          .to = to,
                          .to_stride = to_stride},
                         to_dtype, launcher);
  });
}

}  // namespace trireme::kernels::cuda
