// Many rows against a weight on the tensor cores: grouped products, and what cuBLASLt does not
// take.
//
// A block of four warps makes 128 outputs for 64 rows; a warp 64 by 32 of them. Fragments come
// straight from global memory in 16-byte pieces, and the first-level cache serves the warps that
// share them: a first version, without the copy engine and without wgmma. Low-bit codes become the
// weights that they stand for, rounded to bf16, in registers.
#include "kernels/cuda/low_bit_codes.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kOutTiles = 4;  // of 16 outputs, in a warp
constexpr int kRowTiles = 4;  // of 8 rows, in a warp
constexpr int kBlockOuts = 2 * kOutTiles * 16;
constexpr int kBlockRows = 2 * kRowTiles * 8;

// How a warp reads weights: kSteps times 32 inputs of the outputs that its lanes have, whose pieces
// belong to the inputs from input_of on.
struct PlainTile {
  static constexpr int kSteps = 1;
  int64_t pitch;
  TRIREME_HD int64_t n_chunks() const { return pitch / 32; }
  TRIREME_HD static int input_of(int, int in_quad) { return in_quad * 8; }

  struct Row {
    const bf16* at;  // the lane's pieces of the output
    uint4 piece;     // of the chunk at hand
  };
  __device__ __forceinline__ Row row(const void* weight, int64_t out, int in_quad) const {
    return {static_cast<const bf16*>(weight) + out * pitch + in_quad * 8, {}};
  }
  __device__ __forceinline__ void load(Row* row, const void*, int, int64_t chunk, int) const {
    row->piece = *reinterpret_cast<const uint4*>(row->at + chunk * 32);
  }
  __device__ __forceinline__ uint4 weights(const Row& row, int) const { return row.piece; }
};

template <typename Codes>
struct LowBitTile {
  static constexpr int kSteps = Codes::kSteps;
  LowBitView view;
  int64_t pitch;
  TRIREME_HD int64_t n_chunks() const { return pitch / (kSteps * 32); }
  TRIREME_HD static int input_of(int step, int in_quad) { return Codes::input_of(step, in_quad); }

  struct Row {
    int32_t out;  // registers are few
    uint4 piece;
    CodeScale scale;
  };
  __device__ __forceinline__ Row row(const void*, int64_t out, int) const {
    return {static_cast<int32_t>(out), {}, {}};
  }
  // Codes with a chunk's first step; scales then, or with each step that has its own.
  __device__ __forceinline__ void load(Row* row, const void* weight, int in_quad, int64_t chunk,
                                       int step) const {
    const auto* bytes = static_cast<const uint8_t*>(weight);
    if (step == 0) {
      const int64_t at = row->out * view.row_bytes + chunk * 64 + in_quad * 16;
      row->piece = *reinterpret_cast<const uint4*>(bytes + at);
    }
    if (step < Codes::kScales) row->scale = load_scale<Codes>(view, bytes, row->out, chunk, step);
  }
  __device__ __forceinline__ uint4 weights(const Row& row, int step) const {
    const uint4 codes = Codes::weights(row.piece, step, row.scale.minus);
    const float scale = row.scale.scale;
    return {scaled(codes.x, scale), scaled(codes.y, scale), scaled(codes.z, scale),
            scaled(codes.w, scale)};
  }
  static __device__ __forceinline__ uint32_t scaled(uint32_t two, float scale) {
    const float low = device_to_f32(bf16{static_cast<uint16_t>(two)});
    const float high = device_to_f32(bf16{static_cast<uint16_t>(two >> 16)});
    return pack_bf16(low * scale, high * scale);
  }
};

template <typename Tile, typename Weights>
struct TileGemmParams {
  GemmShape shape;
  Tile tile;
  Weights weights;
};

template <typename Tile, typename Weights>
__global__ void __launch_bounds__(4 * kWarpSize) tile_gemm_kernel(TileGemmParams<Tile, Weights> p) {
  const GemmShape& shape = p.shape;
  const RowTile tile =
      row_tile(shape.run_start, shape.n_rows, shape.n_runs, kBlockRows, blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group = lane / 4;
  const int in_quad = lane % 4;
  const int64_t first_row = warp % 2 * (kRowTiles * 8);
  if (first_row >= tile.n) return;
  const int64_t first_out =
      static_cast<int64_t>(blockIdx.x) * kBlockOuts + warp / 2 * (kOutTiles * 16);
  if (first_out >= shape.out_features) return;

  const void* weight = p.weights.of(tile.run);
  const int64_t last_out = shape.out_features - 1;
  typename Tile::Row w[kOutTiles * 2];
  for (int i = 0; i < kOutTiles * 2; ++i) {
    const int64_t out = first_out + i * 8 + group;
    w[i] = p.tile.row(weight, out < last_out ? out : last_out, in_quad);
  }
  const bf16* x[kRowTiles];
  for (int i = 0; i < kRowTiles; ++i) {
    const int64_t row = first_row + i * 8 + group;
    x[i] = row < tile.n ? static_cast<const bf16*>(shape.x) + (tile.first + row) * shape.x_stride
                        : nullptr;
  }
  float sum[kOutTiles][kRowTiles][4] = {};
  const int64_t n_chunks = p.tile.n_chunks();
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
#pragma unroll
    for (int step = 0; step < Tile::kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < kOutTiles * 2; ++i) p.tile.load(&w[i], weight, in_quad, chunk, step);
      const int64_t k = chunk * (Tile::kSteps * 32) + Tile::input_of(step, in_quad);
      uint4 b[kRowTiles];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) b[i] = load_x(x[i], k, shape.x_width);
#pragma unroll
      for (int o = 0; o < kOutTiles; ++o) {
        const uint4 low = p.tile.weights(w[2 * o], step);
        const uint4 high = p.tile.weights(w[2 * o + 1], step);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) multiply_32(sum[o][r], low, high, b[r]);
      }
    }
  }
#pragma unroll
  for (int o = 0; o < kOutTiles; ++o) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t out = first_out + o * 16 + group + (i >= 2 ? 8 : 0);
        const int64_t row = first_row + r * 8 + in_quad * 2 + i % 2;
        if (row < tile.n && out < shape.out_features) {
          store_result(shape, tile.run, tile.first + row, out, sum[o][r][i]);
        }
      }
    }
  }
}

template <typename Tile, typename Weights>
void start(const char* name, const GemmOperands& operands, const Tile& tile, const Weights& weights,
           const Launcher& launcher) {
  CHECK_EQ(operands.x_dtype, DType::kBF16);
  CHECK_EQ(operands.x_width % 8, 0);
  const LaunchShape shape{.grid_x = ceil_div<int64_t>(operands.out_features, kBlockOuts),
                          .grid_y = n_tile_slots(operands.n_rows, operands.n_runs, kBlockRows),
                          .block = 4 * kWarpSize};
  launch(tile_gemm_kernel<Tile, Weights>, name, shape, launcher,
         TileGemmParams<Tile, Weights>{shape_of(operands), tile, weights});
}

}  // namespace

void tile_gemm(const GemmOperands& operands, const Launcher& launcher) {
  CHECK_EQ(operands.weight_dtype, DType::kBF16);
  CHECK_EQ(operands.pitch % kChunk, 0);
  with_weights(operands, [&](const auto& weights) {
    start("tile_gemm", operands, PlainTile{operands.pitch}, weights, launcher);
  });
}

void tile_low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                       const Launcher& launcher) {
  CHECK(operands.n_runs > 0 && operands.n_runs <= kMaxRuns);
  with_codes(shape, [&](auto codes) {
    start("tile_low_bit_gemm", operands, LowBitTile<decltype(codes)>{view_of(shape), shape.pitch},
          ManyWeights{*operands.weights}, launcher);
  });
}

}  // namespace trireme::kernels::cuda
