// Attention for every shape and dtype in f32 on the plain cores, and the end of split attention.
//
// A block keeps its queries, a tile of 32 keys and values, and its sums in shared memory, and walks
// its keys with an online softmax.  Source: Dao, arXiv:2307.08691.
#include "kernels/cuda/attention_device.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTileKeys = kWarpSize;  // a lane per key in the softmax
constexpr int64_t kMaxPackedRows = 16;
constexpr int64_t kMinSplitKeys = 256;

// Shared memory of a block, in floats. Rows of keys are one float apart from a multiple of the
// banks.
struct SharedLayout {
  int64_t q, k, v, scores, sums, max, total, scale, end;
};
TRIREME_HD constexpr SharedLayout shared_layout(int64_t packed_rows, int64_t key_dim,
                                                int64_t value_dim, bool own_values) {
  SharedLayout at{};
  at.q = 0;
  at.k = at.q + packed_rows * key_dim;
  at.v = at.k + kTileKeys * (key_dim + 1);
  at.scores = at.v + (own_values ? kTileKeys * (value_dim + 1) : 0);
  at.sums = at.scores + packed_rows * kTileKeys;
  at.max = at.sums + packed_rows * value_dim;
  at.total = at.max + packed_rows;
  at.scale = at.total + packed_rows;
  at.end = at.scale + packed_rows;
  return at;
}

template <typename T>
__device__ __forceinline__ void load_tile(const AttentionParams& p, const AttentionTile& tile,
                                          const void* cache, int64_t first_key, int64_t end_key,
                                          int64_t dim, float* to) {
  const int32_t* table = p.block_table + tile.rows.run * p.table_stride;
  for (int64_t i = threadIdx.x; i < kTileKeys * dim; i += blockDim.x) {
    const int64_t in_tile = i / dim;
    const int64_t key = first_key + in_tile;
    // Slots behind the sequence's end, and blocks before those that are seen, may be anything.
    float value = 0;
    if (key >= tile.first_key && key < end_key) {
      const int64_t at = table[key / p.block_size] * p.block_stride +
                         (tile.kv_head * p.block_size + key % p.block_size) * dim + i % dim;
      value = device_to_f32(static_cast<const T*>(cache)[at]);
    }
    to[in_tile * (dim + 1) + i % dim] = value;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) plain_attention_kernel(AttentionParams p) {
  const AttentionTile tile = attention_tile(p, blockIdx.x, blockIdx.y, blockIdx.z);
  if (tile.rows.n == 0 || tile.first_key >= tile.end_key) return;
  const int n_packed = static_cast<int>(tile.rows.n * tile.n_heads);
  const bool own_values = p.v_cache != nullptr;
  const SharedLayout at = shared_layout(p.plan.rows_per_tile * p.plan.heads_per_group, p.key_dim,
                                        p.value_dim, own_values);
  auto* shared = reinterpret_cast<float*>(dynamic_shared());
  float* q = shared + at.q;
  float* k = shared + at.k;
  float* v = own_values ? shared + at.v : k;
  const int64_t v_stride = (own_values ? p.value_dim : p.key_dim) + 1;
  float* scores = shared + at.scores;
  float* sums = shared + at.sums;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpSize;

  for (int64_t i = thread; i < n_packed * p.key_dim; i += blockDim.x) {
    const int64_t packed = i / p.key_dim;
    const int64_t head = tile.first_head + packed % tile.n_heads;
    q[i] = p.q[(tile.rows.first + packed / tile.n_heads) * p.q_stride + head * p.key_dim +
               i % p.key_dim];
  }
  for (int64_t i = thread; i < n_packed * p.value_dim; i += blockDim.x) sums[i] = 0;
  for (int i = thread; i < n_packed; i += static_cast<int>(blockDim.x)) {
    shared[at.max + i] = -INFINITY;
    shared[at.total + i] = 0;
  }
  // Tiles begin at multiples of their size, so that a key is in the same one for every row.
  for (int64_t first = tile.first_key / kTileKeys * kTileKeys; first < tile.end_key;
       first += kTileKeys) {
    block_sync();
    load_tile<T>(p, tile, p.k_cache, first, tile.end_key, p.key_dim, k);
    if (own_values) load_tile<T>(p, tile, p.v_cache, first, tile.end_key, p.value_dim, v);
    block_sync();
    for (int i = thread; i < n_packed * kTileKeys; i += static_cast<int>(blockDim.x)) {
      const int packed = i / kTileKeys;
      float dot = 0;
      for (int64_t c = 0; c < p.key_dim; ++c) {
        dot += q[packed * p.key_dim + c] * k[i % kTileKeys * (p.key_dim + 1) + c];
      }
      const int64_t position = tile.first_position + packed / tile.n_heads;
      scores[i] = masked_score(p, dot, first + i % kTileKeys, position, tile.n_context);
    }
    block_sync();
    for (int packed = thread / kWarpSize; packed < n_packed; packed += kThreads / kWarpSize) {
      const float score = scores[packed * kTileKeys + lane];
      const float max = shared[at.max + packed];
      const float new_max = fmaxf(max, warp_max(score));
      const float weight = score == -INFINITY ? 0.0f : expf(score - new_max);
      const float total = warp_sum(weight);
      scores[packed * kTileKeys + lane] = weight;
      if (lane == 0) {
        const float scale = rescale(max, new_max);
        shared[at.scale + packed] = scale;
        shared[at.total + packed] = shared[at.total + packed] * scale + total;
        shared[at.max + packed] = new_max;
      }
      warp_sync();
    }
    block_sync();
    for (int64_t i = thread; i < n_packed * p.value_dim; i += blockDim.x) {
      const int64_t packed = i / p.value_dim;
      float sum = sums[i] * shared[at.scale + packed];
      for (int t = 0; t < kTileKeys; ++t) {
        sum += scores[packed * kTileKeys + t] * v[t * v_stride + i % p.value_dim];
      }
      sums[i] = sum;
    }
  }
  block_sync();
  for (int64_t i = thread; i < n_packed * p.value_dim; i += blockDim.x) {
    const int64_t packed = i / p.value_dim;
    const int64_t token = tile.rows.first + packed / tile.n_heads;
    const int64_t head = tile.first_head + packed % tile.n_heads;
    const float max = shared[at.max + packed];
    const float total = shared[at.total + packed];
    if (p.plan.n_splits == 1) {
      store_attended(p, token, head, i % p.value_dim, sums[i] * normalizer(p, head, max, total));
      continue;
    }
    const int64_t index = partial_index(p, token, head, blockIdx.z);
    p.partial_sums[index * p.value_dim + i % p.value_dim] = sums[i];
    if (i % p.value_dim == 0) {
      p.partial_max[2 * index] = max;
      p.partial_max[2 * index + 1] = total;
    }
  }
}

// A block per token and head. Only the splits that the row sees have written anything.
__global__ void combine_kernel(AttentionParams p) {
  const int64_t token = blockIdx.x;
  const int64_t head = blockIdx.y;
  const int64_t seq = run_of_row(p.query_start, p.n_seqs, token);
  const int64_t position = p.context_len[seq] - (p.query_start[seq + 1] - token);
  const int64_t first_split = first_visible(position, p.window, p.chunk) / p.plan.split_keys;
  const int64_t end_key = end_visible(position, p.context_len[seq], p.causal);
  const int64_t last_split = (end_key - 1) / p.plan.split_keys;
  float max = -INFINITY;
  for (int64_t s = first_split; s <= last_split; ++s) {
    max = fmaxf(max, p.partial_max[2 * partial_index(p, token, head, s)]);
  }
  float total = 0;
  for (int64_t s = first_split; s <= last_split; ++s) {
    const int64_t index = partial_index(p, token, head, s);
    total += p.partial_max[2 * index + 1] * rescale(p.partial_max[2 * index], max);
  }
  const float factor = normalizer(p, head, max, total);
  for (int64_t c = threadIdx.x; c < p.value_dim; c += blockDim.x) {
    float sum = 0;
    for (int64_t s = first_split; s <= last_split; ++s) {
      const int64_t index = partial_index(p, token, head, s);
      sum += p.partial_sums[index * p.value_dim + c] * rescale(p.partial_max[2 * index], max);
    }
    store_attended(p, token, head, c, sum * factor);
  }
}

}  // namespace

void combine_attention(const AttentionParams& params, const Launcher& launcher) {
  launch(combine_kernel, "combine_attention",
         {.grid_x = params.n_tokens,
          .grid_y = params.n_heads,
          .block = threads_for(params.value_dim, 256)},
         launcher, params);
}

void plain_attention(AttentionParams params, const AttentionShapeInfo& info, DType cache,
                     const AttentionWorkspace& workspace, const Launcher& launcher) {
  const bool own_values = params.v_cache != nullptr;
  // As many packed rows as shared memory has room for.
  int64_t packed_rows = kMaxPackedRows;
  const auto bytes_for = [&](int64_t rows) {
    return static_cast<size_t>(shared_layout(rows, info.key_dim, info.value_dim, own_values).end) *
           sizeof(float);
  };
  while (packed_rows > 1 && bytes_for(packed_rows) > kMaxSharedBytes) packed_rows /= 2;
  params.plan = plan_attention(info, packed_rows, kMinSplitKeys, launcher.n_multiprocessors,
                               workspace.one_order ? 0 : workspace.n_partials);
  place_partials(&params, workspace);
  auto* kernel = cache == DType::kF32    ? plain_attention_kernel<float>
                 : cache == DType::kBF16 ? plain_attention_kernel<bf16>
                 : cache == DType::kE4M3 ? plain_attention_kernel<e4m3>
                                         : plain_attention_kernel<f16>;
  launch(kernel, "plain_attention",
         {.grid_x = params.plan.n_slots,
          .grid_y = params.n_kv_heads * params.plan.n_groups,
          .grid_z = params.plan.n_splits,
          .block = kThreads,
          .shared_bytes = bytes_for(params.plan.rows_per_tile * params.plan.heads_per_group)},
         launcher, params);
  if (params.plan.n_splits > 1) combine_attention(params, launcher);
}

}  // namespace trireme::kernels::cuda
