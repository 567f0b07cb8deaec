// What is sampled from logits on the device: the best columns of rows, and how many come before a
// token.
//
// The first pass sorts each chunk of a row and keeps its best; further passes do the same with what
// was kept, until one chunk is left. Keys hold score and column, so that the order is total and the
// result the same whatever the cut.
#include <cmath>

#include "kernels/counter_random.h"
#include "kernels/cuda/candidates.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kSortThreads = kSortWidth / 2;

#if defined(TRIREME_CUDA_EMULATED)
inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
#else
__device__ __forceinline__ uint32_t bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ float float_of(uint32_t bits) { return __uint_as_float(bits); }
#endif

// Into falling order, by the whole block.
__device__ __forceinline__ void sort_block(uint64_t* keys) {
  for (int run = 2; run <= kSortWidth; run *= 2) {
    for (int stride = run / 2; stride > 0; stride /= 2) {
      block_sync();
      const SortPair pair = sort_pair(static_cast<int>(threadIdx.x), run, stride);
      const uint64_t low = keys[pair.low];
      const uint64_t high = keys[pair.high];
      if ((low < high) == pair.falling) {
        keys[pair.low] = high;
        keys[pair.high] = low;
      }
    }
  }
  block_sync();
}

struct ChunkParams {
  const float* x;
  int64_t x_stride;
  int64_t width;
  const int32_t* rows;
  const float* inverse_temperature;  // or nullptr: by value
  const int64_t* keys;
  int32_t first_id;
  int64_t k;
  uint64_t* kept;  // [row][chunk][k]
};

__device__ __forceinline__ void keep_best(const uint64_t* sorted, int64_t k, uint64_t* kept) {
  uint64_t* to = kept + (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * k;
  for (int64_t i = threadIdx.x; i < k; i += blockDim.x) to[i] = sorted[i];
}

// Block (x, y): chunk x of row y.
__global__ void __launch_bounds__(kSortThreads) first_candidates_kernel(ChunkParams p) {
  __shared__ uint64_t sorted[kSortWidth];
  const int64_t i = blockIdx.y;
  const float* x = p.x + p.rows[i] * p.x_stride;
  for (int at = static_cast<int>(threadIdx.x); at < kSortWidth; at += kSortThreads) {
    const int64_t column = static_cast<int64_t>(blockIdx.x) * kSortWidth + at;
    const float value = column < p.width ? x[column] : -INFINITY;
    uint64_t key = 0;
    if (value > -INFINITY) {
      float score = value;
      if (p.inverse_temperature != nullptr) {
        const auto token = static_cast<uint64_t>(p.first_id + column);
        score = value * p.inverse_temperature[i] +
                gumbel_noise_f32(counter_hash(static_cast<uint64_t>(p.keys[i]), token));
      }
      key = candidate_key(bits_of(score), column);
    }
    sorted[at] = key;
  }
  sort_block(sorted);
  keep_best(sorted, p.k, p.kept);
}

struct MergeParams {
  const uint64_t* from;  // [row][n]
  int64_t n;
  int64_t k;
  uint64_t* kept;  // [row][chunk][k]
};

__global__ void __launch_bounds__(kSortThreads) merge_candidates_kernel(MergeParams p) {
  __shared__ uint64_t sorted[kSortWidth];
  const uint64_t* from = p.from + blockIdx.y * p.n;
  for (int at = static_cast<int>(threadIdx.x); at < kSortWidth; at += kSortThreads) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kSortWidth + at;
    sorted[at] = i < p.n ? from[i] : 0;
  }
  sort_block(sorted);
  keep_best(sorted, p.k, p.kept);
}

struct StoreParams {
  const uint64_t* kept;  // [row][k]
  const float* x;
  int64_t x_stride;
  const int32_t* rows;
  int32_t first_id;
  int64_t k;
  int32_t* ids;
  int64_t ids_stride;
  float* scores;
  int64_t scores_stride;
  float* values;
  int64_t values_stride;
};

__global__ void store_candidates_kernel(StoreParams p) {
  const int64_t i = blockIdx.x;
  for (int64_t j = threadIdx.x; j < p.k; j += blockDim.x) {
    const uint64_t key = p.kept[i * p.k + j];
    const int64_t column = column_of(key);
    p.ids[i * p.ids_stride + j] = key == 0 ? -1 : p.first_id + static_cast<int32_t>(column);
    p.scores[i * p.scores_stride + j] = key == 0 ? -INFINITY : float_of(score_bits_of(key));
    p.values[i * p.values_stride + j] = key == 0 ? -INFINITY : p.x[p.rows[i] * p.x_stride + column];
  }
}

struct CountParams {
  const float* x;
  int64_t x_stride;
  int64_t width;
  const int32_t* rows;
  const int32_t* ids;
  const float* values;
  int32_t first_id;
  int32_t* counts;
};

// Counts below 2^24 are exact in f32.
__global__ void count_before_kernel(CountParams p) {
  __shared__ float scratch[kWarpSize];
  const int64_t i = blockIdx.x;
  const float* x = p.x + p.rows[i] * p.x_stride;
  const float value = p.values[i];
  const int64_t column = static_cast<int64_t>(p.ids[i]) - p.first_id;
  float n = 0;
  for (int64_t j = threadIdx.x; j < p.width; j += blockDim.x) {
    n += x[j] > value || (x[j] == value && j < column) ? 1.0f : 0.0f;
  }
  n = block_sum(n, scratch);
  if (threadIdx.x == 0) p.counts[i] = static_cast<int32_t>(n);
}

// Rows [first, first + n) of the call.
void candidates_of_rows(const RowCandidatesArgs& args, const CandidatePlan& plan, int64_t first,
                        int64_t n, uint64_t* keys, int64_t half, const Launcher& launcher) {
  const int64_t k = args.ids.dim(1);
  const bool draws = args.keys.defined();
  const int32_t* rows = args.rows.as<int32_t>() + first;
  uint64_t* kept = keys;
  launch(first_candidates_kernel, "first_candidates",
         {.grid_x = plan.n_first_chunks, .grid_y = n, .block = kSortThreads}, launcher,
         ChunkParams{
             .x = args.x.as<float>(),
             .x_stride = args.x.row_stride,
             .width = args.x.dim(1),
             .rows = rows,
             .inverse_temperature = draws ? args.inverse_temperature.as<float>() + first : nullptr,
             .keys = draws ? args.keys.as<int64_t>() + first : nullptr,
             .first_id = args.first_id,
             .k = k,
             .kept = kept});
  int64_t n_chunks = plan.n_first_chunks;
  for (int merge = 0; merge < plan.n_merges; ++merge) {
    uint64_t* to = kept == keys ? keys + half : keys;
    const int64_t n_kept = n_chunks * k;
    n_chunks = ceil_div<int64_t>(n_kept, kSortWidth);
    launch(merge_candidates_kernel, "merge_candidates",
           {.grid_x = n_chunks, .grid_y = n, .block = kSortThreads}, launcher,
           MergeParams{.from = kept, .n = n_kept, .k = k, .kept = to});
    kept = to;
  }
  launch(store_candidates_kernel, "store_candidates", {.grid_x = n, .block = threads_for(k, 128)},
         launcher,
         StoreParams{.kept = kept,
                     .x = args.x.as<float>(),
                     .x_stride = args.x.row_stride,
                     .rows = rows,
                     .first_id = args.first_id,
                     .k = k,
                     .ids = args.ids.as<int32_t>() + first * args.ids.row_stride,
                     .ids_stride = args.ids.row_stride,
                     .scores = args.scores.as<float>() + first * args.scores.row_stride,
                     .scores_stride = args.scores.row_stride,
                     .values = args.values.as<float>() + first * args.values.row_stride,
                     .values_stride = args.values.row_stride});
}

}  // namespace

void row_candidates(const RowCandidatesArgs& args, void* workspace, int64_t workspace_bytes,
                    const Launcher& launcher) {
  const auto n_keys = workspace_bytes / static_cast<int64_t>(sizeof(uint64_t));
  const CandidatePlan plan = plan_candidates(args.x.dim(1), args.ids.dim(1), n_keys);
  CHECK_GT(plan.rows_at_once, 0) << "the workspace does not hold the candidates of a row of "
                                 << args.x.dim(1);
  const int64_t n = args.rows.dim(0);
  const int64_t at_once = plan.rows_at_once < kMaxGridYZ ? plan.rows_at_once : kMaxGridYZ;
  for (int64_t first = 0; first < n; first += at_once) {
    candidates_of_rows(args, plan, first, n - first < at_once ? n - first : at_once,
                       static_cast<uint64_t*>(workspace), n_keys / 2, launcher);
  }
}

void count_before(const CountBeforeArgs& args, const Launcher& launcher) {
  launch(count_before_kernel, "count_before",
         {.grid_x = args.rows.dim(0), .block = threads_for(args.x.dim(1), 1024)}, launcher,
         CountParams{.x = args.x.as<float>(),
                     .x_stride = args.x.row_stride,
                     .width = args.x.dim(1),
                     .rows = args.rows.as<int32_t>(),
                     .ids = args.ids.as<int32_t>(),
                     .values = args.values.as<float>(),
                     .first_id = args.first_id,
                     .counts = args.counts.as<int32_t>()});
}

}  // namespace trireme::kernels::cuda
