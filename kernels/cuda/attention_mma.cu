// Attention on the tensor cores over a bf16 or e4m3 cache: keys and values go from global memory
// straight into fragments, in pieces of eight channels, without shared memory. Codes of e4m3 become
// bf16 on the way, exactly; their scales are part of the scores' and of the result's.
//
// A warp works on 16 packed rows and 16 keys at a time. Scores: keys are the columns of the
// product, so a lane's piece of a key row is its part of the fragment, in the k order of
// multiply_32. Values: the sum runs over keys, and a fragment's word holds two keys of one channel;
// a lane loads pieces of two key rows and interleaves them. Channels are numbered so that a lane's
// eight are neighbours. While few rows are decoded, the four warps of a block share them and divide
// the keys; in a prefill each warp has rows of its own, and the warps share keys through the
// first-level cache. Sources: Dao, arXiv:2307.08691; fragment layouts: PTX ISA, mma.m16n8k16.
#include "kernels/cuda/attention_device.h"
#include "kernels/cuda/e4m3_device.h"
#include "kernels/cuda/gemm_device.h"
#include "kernels/cuda/vectors.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kStepKeys = 16;
constexpr int kPackedRows = 16;
constexpr int64_t kMinSplitKeys = 256;
// Rows per sequence from which on every warp gets rows of its own.
constexpr int64_t kPrefillRows = 16;

template <int kDim>
struct Accumulator {
  float sum[kDim / 8][4];  // [channel tile][register]: rows lane / 4 and lane / 4 + 8
  float max[2];
  float total[2];  // of this lane's keys
};

// A warp's rows.
struct WarpRows {
  int64_t first;  // query row
  int64_t n_packed;
  int64_t first_position;
};

template <int kDim>
__device__ __forceinline__ void load_queries(const AttentionParams& p, const AttentionTile& tile,
                                             const WarpRows& rows, uint32_t (&q)[kDim / 16][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t packed = lane / 4 + half * 8;
    const bool here = packed < rows.n_packed;
    const int64_t row = rows.first + (here ? packed / tile.n_heads : 0);
    const int64_t head = tile.first_head + (here ? packed % tile.n_heads : 0);
    const float* from = p.q + row * p.q_stride + head * kDim + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) {
      float value[8];
#pragma unroll
      for (int c = 0; c < 8; ++c) value[c] = here ? from[i * 32 + c] : 0.0f;
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        q[2 * i + s][half] = pack_bf16(value[4 * s], value[4 * s + 1]);
        q[2 * i + s][half + 2] = pack_bf16(value[4 * s + 2], value[4 * s + 3]);
      }
    }
  }
}

// Where the 16 keys from `key` on lie for this kv head: block sizes are multiples of 16.
template <int kDim>
__device__ __forceinline__ int64_t place_of(const AttentionParams& p, const AttentionTile& tile,
                                            int64_t key) {
  const int64_t block = p.block_table[tile.rows.run * p.table_stride + key / p.block_size];
  return block * p.block_stride + (tile.kv_head * p.block_size + key % p.block_size) * kDim;
}

// Eight channels as bf16, from an aligned place.
__device__ __forceinline__ uint4 load_piece(const bf16* from) { return load_cached(from); }
__device__ __forceinline__ uint4 load_piece(const e4m3* from) {
  const auto codes = load_vector<2>(reinterpret_cast<const uint32_t*>(from));
  return expand_e4m3(codes.at[0], codes.at[1]);
}

// Two values of one channel from two keys, as one word; i counts the channels of the pieces.
__device__ __forceinline__ uint32_t interleave(const uint4& low, const uint4& high, int i) {
  const uint32_t a = word_of(low, i / 2);
  const uint32_t b = word_of(high, i / 2);
  return i % 2 == 0 ? (a & 0xffffu) | b << 16 : a >> 16 | (b & 0xffff0000u);
}

// Scores of 16 keys to weights, in place; grows the maxima and scales the sums.
template <int kDim>
__device__ __forceinline__ void soften(const AttentionParams& p, const AttentionTile& tile,
                                       const WarpRows& rows, int64_t key, float (&score)[2][4],
                                       Accumulator<kDim>& acc) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t packed = lane / 4 + half * 8;
    const int64_t position =
        rows.first_position + (packed < rows.n_packed ? packed / tile.n_heads : 0);
    float max = acc.max[half];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& s = score[i / 2][2 * half + i % 2];
      s = masked_score(p, s, key + i / 2 * 8 + lane % 4 * 2 + i % 2, position, tile.n_context);
      max = fmaxf(max, s);
    }
    // The four lanes of a row.
    max = fmaxf(max, shuffle_xor(max, 1));
    max = fmaxf(max, shuffle_xor(max, 2));
    const float scale = rescale(acc.max[half], max);
    acc.max[half] = max;
    acc.total[half] *= scale;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& s = score[i / 2][2 * half + i % 2];
      s = s == -INFINITY ? 0.0f : expf(s - max);
      acc.total[half] += s;
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      acc.sum[j][2 * half] *= scale;
      acc.sum[j][2 * half + 1] *= scale;
    }
  }
}

template <typename T, int kDim>
__device__ __forceinline__ void attend_step(const AttentionParams& p, const AttentionTile& tile,
                                            const WarpRows& rows, const uint32_t (&q)[kDim / 16][4],
                                            int64_t key, Accumulator<kDim>& acc) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int64_t group = lane / 4;
  const int64_t quad = lane % 4;
  const int64_t place = place_of<kDim>(p, tile, key);
  const auto* keys = static_cast<const T*>(p.k_cache) + place;
  const auto* values = static_cast<const T*>(p.v_cache) + place;
  // Slots behind the context may hold anything, NaN too: the last key stands in for them, masked.
  const int64_t last = tile.n_context - 1 - key;
  const auto within = [last](int64_t i) { return i < last ? i : last; };

  uint4 k_piece[2][kDim / 32];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) {
      k_piece[n][i] = load_piece(keys + within(n * 8 + group) * kDim + i * 32 + quad * 8);
    }
  }
  uint4 v_piece[kDim / 64][4];
#pragma unroll
  for (int b = 0; b < kDim / 64; ++b) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = within(i / 2 * 8 + quad * 2 + i % 2);
      v_piece[b][i] = load_piece(values + row * kDim + b * 64 + group * 8);
    }
  }
  float score[2][4] = {};
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const uint32_t b[2] = {word_of(k_piece[n][i], 2 * s), word_of(k_piece[n][i], 2 * s + 1)};
        mma_16x8x16(score[n], q[2 * i + s], b);
      }
    }
  }
  soften<kDim>(p, tile, rows, key, score, acc);
  const uint32_t weight[4] = {
      pack_bf16(score[0][0], score[0][1]), pack_bf16(score[0][2], score[0][3]),
      pack_bf16(score[1][0], score[1][1]), pack_bf16(score[1][2], score[1][3])};
#pragma unroll
  for (int block = 0; block < kDim / 64; ++block) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint32_t b[2] = {interleave(v_piece[block][0], v_piece[block][1], j),
                             interleave(v_piece[block][2], v_piece[block][3], j)};
      mma_16x8x16(acc.sum[block * 8 + j], weight, b);
    }
  }
}

// Channel of accumulator tile j, register i: column lane % 4 * 2 + i % 2 of the product stands for
// the eight channels from 8 * column on, of which tile j holds the one at j % 8.
template <int kDim>
__device__ __forceinline__ int64_t channel_of(int j, int i) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  return j / 8 * 64 + (lane % 4 * 2 + i % 2) * 8 + j % 8;
}

// One packed row's result, or its part of it.
__device__ __forceinline__ void store_packed(const AttentionParams& p, const AttentionTile& tile,
                                             const WarpRows& rows, int64_t packed, int64_t channel,
                                             float sum, float max, float total) {
  const int64_t token = rows.first + packed / tile.n_heads;
  const int64_t head = tile.first_head + packed % tile.n_heads;
  if (p.plan.n_splits == 1) {
    store_attended(p, token, head, channel, sum * normalizer(p, head, max, total));
    return;
  }
  const int64_t index = partial_index(p, token, head, blockIdx.z);
  p.partial_sums[index * p.value_dim + channel] = sum;
  if (channel == 0) {
    p.partial_max[2 * index] = max;
    p.partial_max[2 * index + 1] = total;
  }
}

template <int kDim>
__device__ __forceinline__ void store_own_rows(const AttentionParams& p, const AttentionTile& tile,
                                               const WarpRows& rows, const Accumulator<kDim>& acc) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t packed = lane / 4 + i / 2 * 8;
      if (packed < rows.n_packed) {
        store_packed(p, tile, rows, packed, channel_of<kDim>(j, i), acc.sum[j][i], acc.max[i / 2],
                     acc.total[i / 2]);
      }
    }
  }
}

// The warps' sums over their keys, brought together in the warps' order.
template <int kDim>
__device__ __forceinline__ void store_shared_rows(const AttentionParams& p,
                                                  const AttentionTile& tile, const WarpRows& rows,
                                                  Accumulator<kDim>& acc) {
  __shared__ float sums[kPackedRows][kDim];
  __shared__ float maxima[kWarps][kPackedRows];
  __shared__ float totals[kWarps][kPackedRows];
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarpSize;
  const int lane = thread % kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (lane % 4 == 0) {
      maxima[warp][lane / 4 + half * 8] = acc.max[half];
      totals[warp][lane / 4 + half * 8] = acc.total[half];
    }
  }
  block_sync();
  float scale[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float max = -INFINITY;
    for (int w = 0; w < kWarps; ++w) max = fmaxf(max, maxima[w][lane / 4 + half * 8]);
    scale[half] = rescale(acc.max[half], max);
  }
  for (int w = 0; w < kWarps; ++w) {
    if (warp == w) {
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& sum = sums[lane / 4 + i / 2 * 8][channel_of<kDim>(j, i)];
          const float mine = acc.sum[j][i] * scale[i / 2];
          sum = w == 0 ? mine : sum + mine;
        }
      }
    }
    block_sync();
  }
  for (int64_t i = thread; i < rows.n_packed * kDim; i += kWarps * kWarpSize) {
    const int64_t packed = i / kDim;
    float max = -INFINITY;
    for (int w = 0; w < kWarps; ++w) max = fmaxf(max, maxima[w][packed]);
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += totals[w][packed] * rescale(maxima[w][packed], max);
    store_packed(p, tile, rows, packed, i % kDim, sums[packed][i % kDim], max, total);
  }
}

template <typename T, int kDim, bool kOwnRows>
__global__ void __launch_bounds__(kWarps* kWarpSize) mma_attention_kernel(AttentionParams p) {
  const AttentionTile tile = attention_tile(p, blockIdx.x, blockIdx.y, blockIdx.z);
  if (tile.rows.n == 0 || tile.first_key >= tile.end_key) return;
  const int64_t warp = threadIdx.x / kWarpSize;
  const int64_t warp_rows = kOwnRows ? p.plan.rows_per_tile / kWarps : p.plan.rows_per_tile;
  const int64_t skipped = kOwnRows ? warp * warp_rows : 0;
  int64_t n_rows = tile.rows.n - skipped;
  n_rows = n_rows < warp_rows ? n_rows : warp_rows;
  if (n_rows <= 0) return;  // in a prefill; no barrier follows there
  const WarpRows rows{tile.rows.first + skipped, n_rows * tile.n_heads,
                      tile.first_position + skipped};

  uint32_t q[kDim / 16][4];
  load_queries<kDim>(p, tile, rows, q);
  Accumulator<kDim> acc = {};
  acc.max[0] = acc.max[1] = -INFINITY;
  const int64_t after_rows = rows.first_position + n_rows;
  const int64_t end = tile.end_key < after_rows ? tile.end_key : after_rows;
  // A key falls to the same warp for every row.
  const int64_t step = kOwnRows ? kStepKeys : kWarps * kStepKeys;
  const int64_t first = tile.first_key / step * step + (kOwnRows ? 0 : warp * kStepKeys);
  for (int64_t key = first; key < end; key += step) {
    if (key >= tile.first_key) attend_step<T, kDim>(p, tile, rows, q, key, acc);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    acc.total[half] += shuffle_xor(acc.total[half], 1);
    acc.total[half] += shuffle_xor(acc.total[half], 2);
  }
  if constexpr (kOwnRows) {
    store_own_rows<kDim>(p, tile, rows, acc);
  } else {
    store_shared_rows<kDim>(p, tile, rows, acc);
  }
}

template <typename T, int kDim>
void start(const AttentionParams& params, bool own_rows, const Launcher& launcher) {
  launch(own_rows ? mma_attention_kernel<T, kDim, true> : mma_attention_kernel<T, kDim, false>,
         "mma_attention",
         {.grid_x = params.plan.n_slots,
          .grid_y = params.n_kv_heads * params.plan.n_groups,
          .grid_z = params.plan.n_splits,
          .block = kWarps * kWarpSize},
         launcher, params);
}

}  // namespace

bool mma_attention_takes(const AttentionShapeInfo& info, DType cache) {
  return (cache == DType::kBF16 || cache == DType::kE4M3) && info.key_dim == info.value_dim &&
         (info.key_dim == 64 || info.key_dim == 128);
}

void mma_attention(AttentionParams params, const AttentionShapeInfo& info, DType cache,
                   const AttentionWorkspace& workspace, const Launcher& launcher) {
  const bool own_rows = !workspace.one_order && info.n_tokens >= kPrefillRows * info.n_seqs;
  params.plan = plan_attention(info, kPackedRows, kMinSplitKeys, launcher.n_multiprocessors,
                               workspace.one_order ? 0 : workspace.n_partials);
  if (own_rows) {
    params.plan.rows_per_tile *= kWarps;
    params.plan.n_slots = n_tile_slots(info.n_tokens, info.n_seqs, params.plan.rows_per_tile);
  }
  place_partials(&params, workspace);
  if (cache == DType::kE4M3) {
    info.key_dim == 64 ? start<e4m3, 64>(params, own_rows, launcher)
                       : start<e4m3, 128>(params, own_rows, launcher);
  } else {
    info.key_dim == 64 ? start<bf16, 64>(params, own_rows, launcher)
                       : start<bf16, 128>(params, own_rows, launcher);
  }
  if (params.plan.n_splits > 1) combine_attention(params, launcher);
}

}  // namespace trireme::kernels::cuda
