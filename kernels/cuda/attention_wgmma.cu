// Attention of prefills on Hopper: products of warpgroups (wgmma.h) over a bf16 or f16 cache.
//
// A block is two warpgroups of 64 packed rows each (attention.h); they share tiles of 128 keys and
// values, which the block's threads copy from the pages into swizzled shared memory, two tiles
// deep. Queries stay in registers. Scores of the next tile and the weighted sum over the current
// one are under way together, the softmax of the former runs during the latter, and copies take a
// whole round:
//
//   copies:    K2 V1      K3 V2      ...
//   products:  Q K1, P0 V0      Q K2, P1 V1      ...
//   softmax:   S1 -> P1         S2 -> P2         ...
//
// Tiles of keys begin at multiples of their size, and a row's sums see nothing of the other rows:
// what a row gets does not depend on them, nor on how its prompt was cut into calls that come here.
// A tile is [128 keys][64 channels] per half of the channels, rows of 128 bytes: K-major for the
// scores, MN-major for the sums over keys. Sources: Dao, arXiv:2307.08691; Shah et al., "Flash-
// Attention-3", arXiv:2407.08608.
#include "kernels/cuda/attention_device.h"
#include "kernels/cuda/vectors.h"
#include "kernels/cuda/wgmma.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarpgroups = 2;
constexpr int kThreads = kWarpgroups * kWarpgroupThreads;
constexpr int kPackedRows = kWarpgroups * kWarpgroupRows;
constexpr int kTileKeys = 128;
constexpr uint32_t kHalfBytes = kTileKeys * kSwizzleRowBytes;
// Rows per sequence from which on the kernel is used, as the warps' own rows in attention_mma.cu.
constexpr int64_t kPrefillRows = 16;

TRIREME_HD constexpr uint32_t tile_bytes(int64_t dim) {
  return static_cast<uint32_t>(dim) * 2 / kSwizzleRowBytes * kHalfBytes;
}
// Keys and values, two tiles each, from a multiple of the swizzle's pattern on.
constexpr size_t shared_bytes(int64_t dim) {
  return kSwizzlePatternBytes + 4 * size_t{tile_bytes(dim)};
}
static_assert(shared_bytes(128) <= kMaxSharedBytes);

#if TRIREME_HAS_WGMMA

constexpr uint32_t kPieceBytes = 16;
constexpr float kLog2E = 1.4426950408889634f;

// A warpgroup's rows; a thread has two of them.
struct ThreadRows {
  int packed[2];  // of the block
  int first[2];   // keys [first, end) that the row sees
  int end[2];
  int n_packed;      // of the block
  int common_first;  // keys that every row of the warpgroup sees
  int common_end;
};

__device__ __forceinline__ ThreadRows thread_rows(const AttentionParams& p,
                                                  const AttentionTile& tile) {
  const int thread = static_cast<int>(threadIdx.x);
  const int n_heads = static_cast<int>(tile.n_heads);
  const int begin = thread / kWarpgroupThreads * kWarpgroupRows;
  ThreadRows rows;
  rows.n_packed = static_cast<int>(tile.rows.n) * n_heads;
  // Rows that are not there do as the last one does.
  const int last = rows.n_packed - 1;
  const auto position = [&](int packed) {
    return tile.first_position + (packed < last ? packed : last) / n_heads;
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    rows.packed[half] =
        begin + thread % kWarpgroupThreads / kWarpSize * 16 + thread % kWarpSize / 4 + half * 8;
    const int64_t at = position(rows.packed[half]);
    rows.first[half] = static_cast<int>(first_visible(at, p.window, p.chunk));
    rows.end[half] = static_cast<int>(end_visible(at, tile.n_context, true));
  }
  rows.common_first =
      static_cast<int>(first_visible(position(begin + kWarpgroupRows - 1), p.window, p.chunk));
  rows.common_end = static_cast<int>(end_visible(position(begin), tile.n_context, true));
  return rows;
}

template <typename T, int kDim>
__device__ __forceinline__ void load_queries(const AttentionParams& p, const AttentionTile& tile,
                                             const ThreadRows& rows, uint32_t (&q)[kDim / 16][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int n_heads = static_cast<int>(tile.n_heads);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int packed = rows.packed[half];
    const bool here = packed < rows.n_packed;
    const int64_t row = tile.rows.first + (here ? packed / n_heads : 0);
    const int64_t head = tile.first_head + (here ? packed % n_heads : 0);
    const float* from = p.q + row * p.q_stride + head * kDim + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      const auto pair = load_vector<2>(from + i * 8);
      q[i / 2][half + i % 2 * 2] = here ? pack_pair<T>(pair.at[0], pair.at[1]) : 0;
    }
  }
}

// Begins to copy the keys or values from `first_key` on to the tile at `to`. Keys that the block
// does not see are zeros: their slots, and the table's entries for them, may be anything.
template <typename T, int kDim>
__device__ __forceinline__ void copy_tile(const AttentionParams& p, const AttentionTile& tile,
                                          const void* cache, int first_key, uint32_t to) {
  constexpr int kPieces = kDim / 8;  // of a key
  constexpr int kKeysAtOnce = kThreads / kPieces;
  const int thread = static_cast<int>(threadIdx.x);
  const int piece = thread % kPieces;
  const int32_t* table = p.block_table + tile.rows.run * p.table_stride;
  const auto block_size = static_cast<unsigned>(p.block_size);
  const T* head = static_cast<const T*>(cache) + tile.kv_head * p.block_size * kDim + piece * 8;
#pragma unroll
  for (int i = 0; i < kTileKeys / kKeysAtOnce; ++i) {
    const int in_tile = i * kKeysAtOnce + thread / kPieces;
    const int key = first_key + in_tile;
    const bool seen = key >= tile.first_key && key < tile.end_key;
    const T* from = static_cast<const T*>(cache);
    if (seen) {
      const unsigned block = static_cast<unsigned>(key) / block_size;
      const unsigned slot = static_cast<unsigned>(key) % block_size;
      from = head + table[block] * p.block_stride + static_cast<int64_t>(slot) * kDim;
    }
    const auto at = static_cast<uint32_t>(in_tile * kSwizzleRowBytes + piece % 8 * kPieceBytes);
    copy_async(to + static_cast<uint32_t>(piece / 8) * kHalfBytes + swizzle_128(at), from, !seen);
  }
}

// scores = q k^T: rows of k are keys, along which channels follow one another.
template <typename T, int kDim>
__device__ __forceinline__ void multiply_keys(const uint32_t (&q)[kDim / 16][4], uint32_t keys,
                                              float (&score)[kTileKeys / 8][4]) {
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    const uint32_t at = keys + step / 4 * kHalfBytes + step % 4 * 32;
    wgmma<T, false, kTileKeys>(score, q[step],
                               matrix_descriptor(at, kPieceBytes, kSwizzlePatternBytes), step > 0);
  }
  wgmma_commit();
}

// sum += weight v: rows of v are keys, the product's inner dimension.
template <typename T, int kDim>
__device__ __forceinline__ void multiply_values(const uint32_t (&weight)[kTileKeys / 16][4],
                                                uint32_t values, float (&sum)[kDim / 8][4]) {
#pragma unroll
  for (int step = 0; step < kTileKeys / 16; ++step) {
    const uint32_t at = values + step * 16 * kSwizzleRowBytes;
    wgmma<T, true, kDim>(sum, weight[step], matrix_descriptor(at, kHalfBytes, kSwizzlePatternBytes),
                         true);
  }
  wgmma_commit();
}

// Of a thread's two rows.
struct Softmax {
  float max[2];
  float total[2];  // of this thread's keys
  float scale[2];  // by which sums shrink as the maximum grew
};

// Scores of the tile from `key` on to weights, in place.
__device__ __forceinline__ void soften(const AttentionParams& p, const ThreadRows& rows, int key,
                                       float to_log2, float (&score)[kTileKeys / 8][4],
                                       Softmax& softmax) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (p.softcap > 0) {
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        score[j][i] = p.softcap * tanhf(score[j][i] * p.scale / p.softcap);
      }
    }
  }
  if (key < rows.common_first || key + kTileKeys > rows.common_end) {
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = key + j * 8 + lane % 4 * 2 + i % 2;
        if (at < rows.first[i / 2] || at >= rows.end[i / 2]) score[j][i] = -INFINITY;
      }
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float max = softmax.max[half];
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
      max = fmaxf(max, fmaxf(score[j][2 * half], score[j][2 * half + 1]));
    }
    // The four lanes of a row.
    max = fmaxf(max, shuffle_xor(max, 1));
    max = fmaxf(max, shuffle_xor(max, 2));
    // Nothing seen yet: any finite number will do.
    const float base = max == -INFINITY ? 0.0f : max * to_log2;
    // Exactly one where the maximum stays: a tile that a row does not see leaves its sums alone.
    softmax.scale[half] =
        max == -INFINITY ? 0.0f : exp2_approx((softmax.max[half] - max) * to_log2);
    softmax.max[half] = max;
    float total = 0;
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        score[j][i] = exp2_approx(fmaf(score[j][i], to_log2, -base));
        total += score[j][i];
      }
    }
    softmax.total[half] = softmax.total[half] * softmax.scale[half] + total;
  }
}

// The weights as the words of A that they are already where they should be.
template <typename T>
__device__ __forceinline__ void pack_weights(const float (&score)[kTileKeys / 8][4],
                                             uint32_t (&weight)[kTileKeys / 16][4]) {
#pragma unroll
  for (int step = 0; step < kTileKeys / 16; ++step) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float* pair = score[2 * step + r / 2] + r % 2 * 2;
      weight[step][r] = pack_pair<T>(pair[0], pair[1]);
    }
  }
}

template <int kDim>
__device__ __forceinline__ void store_rows(const AttentionParams& p, const AttentionTile& tile,
                                           const ThreadRows& rows, const Softmax& softmax,
                                           const float (&sum)[kDim / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int n_heads = static_cast<int>(tile.n_heads);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float total = softmax.total[half];
    total += shuffle_xor(total, 1);
    total += shuffle_xor(total, 2);
    const int packed = rows.packed[half];
    if (packed >= rows.n_packed) continue;
    const int64_t token = tile.rows.first + packed / n_heads;
    const int64_t head = tile.first_head + packed % n_heads;
    const float max = p.softcap > 0 ? softmax.max[half] : softmax.max[half] * p.scale;
    const float factor = normalizer(p, head, max, total);
    const int64_t at = token * p.out_stride + head * kDim + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const float a = sum[j][2 * half] * factor;
      const float b = sum[j][2 * half + 1] * factor;
      if (p.out_is_bf16) {
        *reinterpret_cast<uint32_t*>(static_cast<bf16*>(p.out) + at + j * 8) = pack_bf16(a, b);
      } else {
        store_vector<2>(static_cast<float*>(p.out) + at + j * 8, {a, b});
      }
    }
  }
}

// A block's keys, cut into tiles, and where they lie in shared memory, each kind in two places.
template <int kDim>
struct Tiles {
  uint32_t keys;
  uint32_t values;
  int first_key;  // a multiple of a tile
  int n;

  __device__ int key(int i) const { return first_key + i * kTileKeys; }
  __device__ uint32_t keys_at(int i) const { return keys + i % 2 * tile_bytes(kDim); }
  __device__ uint32_t values_at(int i) const { return values + i % 2 * tile_bytes(kDim); }
};

template <int kDim>
__device__ __forceinline__ Tiles<kDim> tiles_of(const AttentionTile& tile) {
  Tiles<kDim> tiles;
  tiles.keys = round_up<uint32_t>(shared_address(dynamic_shared()), kSwizzlePatternBytes);
  tiles.values = tiles.keys + 2 * tile_bytes(kDim);
  tiles.first_key = static_cast<int>(tile.first_key) / kTileKeys * kTileKeys;
  tiles.n = ceil_div(static_cast<int>(tile.end_key) - tiles.first_key, kTileKeys);
  return tiles;
}

// Of all threads, but for the latest kPending groups; both warpgroups have done what came before.
template <int kPending>
__device__ __forceinline__ void copies_are_there() {
  copy_async_wait<kPending>();
  proxy_fence();
  block_sync();
}

// What a thread carries from tile to tile.
template <int kDim>
struct Carried {
  float sum[kDim / 8][4];
  float score[kTileKeys / 8][4];
  uint32_t weight[kTileKeys / 16][4];
  Softmax softmax;
};

// The sum over tile i, and the weights of tile i + 1.
template <typename T, int kDim>
__device__ __forceinline__ void attend_round(const AttentionParams& p, const AttentionTile& tile,
                                             const ThreadRows& rows, const Tiles<kDim>& tiles,
                                             int i, float to_log2,
                                             const uint32_t (&q)[kDim / 16][4],
                                             Carried<kDim>& carried) {
  // Keys i + 1 and values i; keys i and values i - 1 have been used.
  copies_are_there<0>();
  pin(carried.weight);
  pin(carried.sum);
  pin(carried.score);
  wgmma_fence();
  multiply_keys<T, kDim>(q, tiles.keys_at(i + 1), carried.score);
  multiply_values<T, kDim>(carried.weight, tiles.values_at(i), carried.sum);
  if (i + 2 < tiles.n) {
    copy_tile<T, kDim>(p, tile, p.k_cache, tiles.key(i + 2), tiles.keys_at(i + 2));
  }
  copy_tile<T, kDim>(p, tile, p.v_cache, tiles.key(i + 1), tiles.values_at(i + 1));
  copy_async_commit();
  wgmma_wait<1>();
  pin(carried.score);
  soften(p, rows, tiles.key(i + 1), to_log2, carried.score, carried.softmax);
  wgmma_wait<0>();
  pin(carried.sum);
#pragma unroll
  for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
    for (int r = 0; r < 4; ++r) carried.sum[j][r] *= carried.softmax.scale[r / 2];
  }
  pack_weights<T>(carried.score, carried.weight);
}

#endif

template <typename T, int kDim>
__global__ void __launch_bounds__(kThreads, 1) wgmma_attention_kernel(AttentionParams p) {
#if TRIREME_HAS_WGMMA
  // Late rows see most keys: their blocks begin first.
  const int64_t n_groups = p.n_kv_heads * p.plan.n_groups;
  const int64_t slot = p.plan.n_slots - 1 - blockIdx.x / n_groups;
  const AttentionTile tile = attention_tile(p, slot, blockIdx.x % n_groups, 0);
  if (tile.rows.n == 0) return;
  const ThreadRows rows = thread_rows(p, tile);
  const Tiles<kDim> tiles = tiles_of<kDim>(tile);
  const float to_log2 = p.softcap > 0 ? kLog2E : p.scale * kLog2E;

  copy_tile<T, kDim>(p, tile, p.k_cache, tiles.key(0), tiles.keys_at(0));
  copy_async_commit();
  if (tiles.n > 1) copy_tile<T, kDim>(p, tile, p.k_cache, tiles.key(1), tiles.keys_at(1));
  copy_tile<T, kDim>(p, tile, p.v_cache, tiles.key(0), tiles.values_at(0));
  copy_async_commit();
  uint32_t q[kDim / 16][4];
  load_queries<T, kDim>(p, tile, rows, q);

  Carried<kDim> carried = {};
  carried.softmax.max[0] = carried.softmax.max[1] = -INFINITY;
  copies_are_there<1>();
  pin(q);
  pin(carried.score);
  wgmma_fence();
  multiply_keys<T, kDim>(q, tiles.keys_at(0), carried.score);
  wgmma_wait<0>();
  pin(carried.score);
  soften(p, rows, tiles.key(0), to_log2, carried.score, carried.softmax);
  pack_weights<T>(carried.score, carried.weight);
  for (int i = 0; i + 1 < tiles.n; ++i) {
    attend_round<T, kDim>(p, tile, rows, tiles, i, to_log2, q, carried);
  }
  copies_are_there<0>();
  pin(carried.weight);
  pin(carried.sum);
  wgmma_fence();
  multiply_values<T, kDim>(carried.weight, tiles.values_at(tiles.n - 1), carried.sum);
  wgmma_wait<0>();
  pin(carried.sum);
  store_rows<kDim>(p, tile, rows, carried.softmax, carried.sum);
#else
  (void)p;
#endif
}

template <typename T>
void start(const AttentionParams& params, const Launcher& launcher) {
  launch(params.key_dim == 64 ? wgmma_attention_kernel<T, 64> : wgmma_attention_kernel<T, 128>,
         "wgmma_attention",
         {.grid_x = params.plan.n_slots * params.n_kv_heads * params.plan.n_groups,
          .block = kThreads,
          .shared_bytes = shared_bytes(params.key_dim)},
         launcher, params);
}

bool is_multiple(const void* address, uintptr_t of) {
  return reinterpret_cast<uintptr_t>(address) % of == 0;
}

}  // namespace

AttentionPlan plan_wgmma_attention(const AttentionShapeInfo& info) {
  return plan_attention(info, kPackedRows, /*min_split_keys=*/1, /*n_multiprocessors=*/1,
                        /*n_partials=*/0);
}

bool wgmma_attention_takes(const AttentionParams& params, const AttentionShapeInfo& info,
                           DType cache, int n_multiprocessors) {
  if (cache != DType::kBF16 && cache != DType::kF16) return false;
  if (info.key_dim != info.value_dim || (info.key_dim != 64 && info.key_dim != 128)) return false;
  // Maxima are taken before scores are scaled; keys and positions are ints.
  if (!params.causal || params.scale <= 0 || params.v_cache == nullptr) return false;
  if (info.max_keys > (int64_t{1} << 30)) return false;
  if (!is_multiple(params.k_cache, 16) || !is_multiple(params.v_cache, 16) ||
      params.block_stride % 8 != 0 || !is_multiple(params.q, 8) || params.q_stride % 2 != 0 ||
      !is_multiple(params.out, params.out_is_bf16 ? 4 : 8) || params.out_stride % 2 != 0) {
    return false;
  }
  const AttentionPlan plan = plan_wgmma_attention(info);
  // An average sequence fills half a tile, and the tiles half of the device: keys are not split.
  const int64_t n_tiles = info.n_tokens / plan.rows_per_tile;
  return info.n_tokens >= kPrefillRows * info.n_seqs &&
         info.n_tokens * plan.heads_per_group * 2 >= kPackedRows * info.n_seqs &&
         n_tiles * info.n_kv_heads * plan.n_groups * 2 >= n_multiprocessors;
}

void wgmma_attention(AttentionParams params, const AttentionShapeInfo& info, DType cache,
                     const Launcher& launcher) {
  params.plan = plan_wgmma_attention(info);
  cache == DType::kBF16 ? start<bf16>(params, launcher) : start<f16>(params, launcher);
}

}  // namespace trireme::kernels::cuda
