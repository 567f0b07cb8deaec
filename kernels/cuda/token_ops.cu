// The tokens that candidates decide for, and where the next step reads them.
#include <cmath>

#include "kernels/counter_random.h"
#include "kernels/cuda/candidates.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kDrawThreads = 128;

struct BestParams {
  const int32_t* ids;
  int64_t ids_stride;  // from rank to rank
  const float* scores;
  int64_t scores_stride;
  int64_t n_ranks;
  int64_t n;
  int64_t k;
  const int32_t* rows;
  int32_t* tokens;
};

// A thread per row.
__global__ void best_tokens_kernel(BestParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.n) return;
  int32_t token = -1;
  float best = 0;
  for (int64_t rank = 0; rank < p.n_ranks; ++rank) {
    const int32_t id = p.ids[rank * p.ids_stride + i * p.k];
    const float score = p.scores[rank * p.scores_stride + i * p.k];
    if (id < 0) continue;
    if (token >= 0 && (score < best || (score == best && id > token))) continue;
    token = id;
    best = score;
  }
  p.tokens[p.rows[i]] = token < 0 ? 0 : token;
}

struct DrawParams {
  const int32_t* ids;
  int64_t ids_stride;  // from rank to rank
  const float* values;
  int64_t values_stride;
  const float* sum_exp;  // or nullptr
  int64_t sum_exp_stride;
  int64_t n_ranks;
  int k;
  const float* inverse_temperature;
  const int64_t* keys;
  const int32_t* top_k;
  const float* top_p;
  const float* min_p;
  const int32_t* rows;
  int32_t* tokens;
};

// Block i: row i. What the block knows of its row.
struct Ranking {
  int32_t ids[kMaxRowCandidates];  // -1 behind the last
  float values[kMaxRowCandidates];
  float weights[kMaxRowCandidates];  // exp((value - max) * inverse_temperature)
};

// Every candidate goes to its place among all ranks': each rank's list is sorted, so that a place
// is a sum of places in lists.
__device__ __forceinline__ void merge_row(const DrawParams& p, Ranking& ranking) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  for (int j = static_cast<int>(threadIdx.x); j < p.k; j += kDrawThreads) {
    ranking.ids[j] = -1;
    ranking.values[j] = -INFINITY;
  }
  block_sync();
  const int n_all = static_cast<int>(p.n_ranks) * p.k;
  for (int e = static_cast<int>(threadIdx.x); e < n_all; e += kDrawThreads) {
    const int own = e / p.k;
    const int32_t id = p.ids[own * p.ids_stride + row * p.k + e % p.k];
    const float value = p.values[own * p.values_stride + row * p.k + e % p.k];
    if (id < 0) continue;
    int place = 0;
    for (int rank = 0; rank < p.n_ranks; ++rank) {
      place += rank == own ? e % p.k
                           : count_sorted_before(p.ids + rank * p.ids_stride + row * p.k,
                                                 p.values + rank * p.values_stride + row * p.k, p.k,
                                                 value, id);
    }
    if (place >= p.k) continue;
    ranking.ids[place] = id;
    ranking.values[place] = value;
  }
  block_sync();
  const float max = ranking.values[0];
  const float inverse = p.inverse_temperature[row];
  for (int j = static_cast<int>(threadIdx.x); j < p.k; j += kDrawThreads) {
    ranking.weights[j] = ranking.ids[j] < 0 ? 0.0f : expf((ranking.values[j] - max) * inverse);
  }
  block_sync();
}

__device__ __forceinline__ float mass_of_row(const DrawParams& p, float max) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  float mass = 0;
  if (p.sum_exp == nullptr) return mass;
  for (int64_t rank = 0; rank < p.n_ranks; ++rank) {
    if (p.ids[rank * p.ids_stride + row * p.k] < 0) continue;
    const float own = p.values[rank * p.values_stride + row * p.k];
    mass +=
        p.sum_exp[rank * p.sum_exp_stride + row] * expf((own - max) * p.inverse_temperature[row]);
  }
  return mass;
}

// How many leading candidates stay: min_p, top_k, and top_p of what those left.
__device__ __forceinline__ int n_kept(const DrawParams& p, const Ranking& ranking) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  const int32_t top_k = p.top_k[row];
  const float top_p = p.top_p[row];
  const float min_p = p.min_p[row];
  const int limit = top_k > 0 && top_k < p.k ? top_k : p.k;
  int kept = 0;
  while (kept < limit && ranking.ids[kept] >= 0 && (kept == 0 || ranking.weights[kept] >= min_p)) {
    ++kept;
  }
  if (top_p >= 1.0f || kept == 0) return kept;
  float total = 0;
  if (top_k > 0 || min_p > 0.0f) {
    for (int j = 0; j < kept; ++j) total += ranking.weights[j];
  } else {
    total = mass_of_row(p, ranking.values[0]);
  }
  float sum = 0;
  for (int j = 0; j < kept; ++j) {
    sum += ranking.weights[j];
    if (sum >= top_p * total) return j + 1;
  }
  return kept;
}

__global__ void __launch_bounds__(kDrawThreads) draw_tokens_kernel(DrawParams p) {
  __shared__ Ranking ranking;
  __shared__ int kept;
  const auto row = static_cast<int64_t>(blockIdx.x);
  merge_row(p, ranking);
  if (threadIdx.x == 0) kept = n_kept(p, ranking);
  block_sync();
  // The scores take the weights' place.
  const auto key = static_cast<uint64_t>(p.keys[row]);
  for (int j = static_cast<int>(threadIdx.x); j < kept; j += kDrawThreads) {
    ranking.weights[j] = ranking.values[j] * p.inverse_temperature[row] +
                         gumbel_noise_f32(counter_hash(key, static_cast<uint64_t>(ranking.ids[j])));
  }
  block_sync();
  if (threadIdx.x != 0) return;
  int32_t token = 0;
  float best = -INFINITY;
  for (int j = 0; j < kept; ++j) {
    const float score = ranking.weights[j];
    if (j > 0 && (score < best || (score == best && ranking.ids[j] > token))) continue;
    best = score;
    token = ranking.ids[j];
  }
  p.tokens[p.rows[row]] = token;
}

struct PlaceParams {
  const int32_t* tokens;
  const int32_t* sources;
  int32_t* ids;
  int64_t n;
};

__global__ void place_tokens_kernel(PlaceParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < p.n && p.sources[i] >= 0) p.ids[i] = p.tokens[p.sources[i]];
}

}  // namespace

void best_tokens(const BestTokensArgs& args, const Launcher& launcher) {
  const int64_t n = args.rows.dim(0);
  const int threads = threads_for(n, 128);
  launch(best_tokens_kernel, "best_tokens",
         {.grid_x = ceil_div<int64_t>(n, threads), .block = threads}, launcher,
         BestParams{.ids = args.ids.as<int32_t>(),
                    .ids_stride = args.ids.row_stride,
                    .scores = args.scores.as<float>(),
                    .scores_stride = args.scores.row_stride,
                    .n_ranks = args.ids.dim(0),
                    .n = n,
                    .k = args.ids.dim(1) / n,
                    .rows = args.rows.as<int32_t>(),
                    .tokens = args.tokens.as<int32_t>()});
}

void draw_tokens(const DrawTokensArgs& args, const Launcher& launcher) {
  const int64_t n = args.rows.dim(0);
  launch(draw_tokens_kernel, "draw_tokens", {.grid_x = n, .block = kDrawThreads}, launcher,
         DrawParams{.ids = args.ids.as<int32_t>(),
                    .ids_stride = args.ids.row_stride,
                    .values = args.values.as<float>(),
                    .values_stride = args.values.row_stride,
                    .sum_exp = args.sum_exp.defined() ? args.sum_exp.as<float>() : nullptr,
                    .sum_exp_stride = args.sum_exp.row_stride,
                    .n_ranks = args.ids.dim(0),
                    .k = static_cast<int>(args.ids.dim(1) / n),
                    .inverse_temperature = args.inverse_temperature.as<float>(),
                    .keys = args.keys.as<int64_t>(),
                    .top_k = args.top_k.as<int32_t>(),
                    .top_p = args.top_p.as<float>(),
                    .min_p = args.min_p.as<float>(),
                    .rows = args.rows.as<int32_t>(),
                    .tokens = args.tokens.as<int32_t>()});
}

void place_tokens(const PlaceTokensArgs& args, const Launcher& launcher) {
  const int64_t n = args.ids.dim(0);
  if (n == 0) return;
  const int threads = threads_for(n, 256);
  launch(place_tokens_kernel, "place_tokens",
         {.grid_x = ceil_div<int64_t>(n, threads), .block = threads}, launcher,
         PlaceParams{.tokens = args.tokens.as<int32_t>(),
                     .sources = args.sources.as<int32_t>(),
                     .ids = args.ids.as<int32_t>(),
                     .n = n});
}

}  // namespace trireme::kernels::cuda
