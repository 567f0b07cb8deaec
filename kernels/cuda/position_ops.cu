// Ops that know where a token stands: rotary embedding and the write into the paged cache.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"

namespace trireme::kernels::cuda {
namespace {

struct RopeHeads {
  float* x;  // or nullptr
  int64_t stride;
  int64_t n_heads;
  int64_t head_dim;
};

struct RopeParams {
  RopeHeads q;
  RopeHeads k;
  const int32_t* positions;
  const float* inv_freq;        // [n_sets, n_pairs]
  const int32_t* set_of_token;  // or nullptr
  int64_t n_pairs;
  bool interleaved;
  float scale;
};

__device__ __forceinline__ void rotate(const RopeHeads& heads, int64_t token, int64_t first,
                                       int64_t second, int walker, int n_walkers, float cos,
                                       float sin) {
  if (heads.x == nullptr) return;
  for (int64_t head = walker; head < heads.n_heads; head += n_walkers) {
    float* x = heads.x + token * heads.stride + head * heads.head_dim;
    const float a = x[first];
    const float b = x[second];
    x[first] = a * cos - b * sin;
    x[second] = b * cos + a * sin;
  }
}

// A block per token. Angles are in f64, as in the reference: at position 131072 an f32 angle would
// be off by a hundredth of a radian. A thread keeps one frequency and walks the heads.
__global__ void rope_kernel(RopeParams p) {
  const int64_t token = blockIdx.x;
  const auto n_pairs = static_cast<int>(p.n_pairs);
  const int n_walkers = static_cast<int>(blockDim.x) / n_pairs;
  const int walker = static_cast<int>(threadIdx.x) / n_pairs;
  if (walker >= n_walkers) return;
  const int64_t i = static_cast<int>(threadIdx.x) % n_pairs;
  const int64_t set = p.set_of_token == nullptr ? 0 : p.set_of_token[token];
  const double angle = static_cast<double>(p.inv_freq[set * p.n_pairs + i]) * p.positions[token];
  // Into half a turn around zero in f64; from there f32 is accurate.
  constexpr double kTurn = 6.283185307179586476925;
  const float reduced = static_cast<float>(angle - kTurn * rint(angle * (1 / kTurn)));
  const float cos = cosf(reduced) * p.scale;
  const float sin = sinf(reduced) * p.scale;
  const int64_t first = p.interleaved ? 2 * i : i;
  const int64_t second = p.interleaved ? 2 * i + 1 : i + p.n_pairs;
  rotate(p.q, token, first, second, walker, n_walkers, cos, sin);
  rotate(p.k, token, first, second, walker, n_walkers, cos, sin);
}

RopeHeads rope_heads(const TensorView& view) {
  if (!view.defined()) return {};
  return {view.as<float>(), view.row_stride, view.dim(1), view.dim(2)};
}

struct AppendParams {
  const float* k;
  int64_t k_stride;
  const float* v;
  int64_t v_stride;
  const int64_t* slots;
  void* k_cache;
  void* v_cache;
  int64_t block_stride;
  int64_t n_kv_heads;
  int64_t block_size;
  int64_t head_dim;
};

template <typename T>
__global__ void kv_append_kernel(AppendParams p) {
  const int64_t token = blockIdx.x;
  const int64_t slot = p.slots[token];
  const int64_t block = slot / p.block_size;
  const int64_t offset = slot % p.block_size;
  for (int64_t j = threadIdx.x; j < p.n_kv_heads * p.head_dim; j += blockDim.x) {
    const int64_t head = j / p.head_dim;
    const int64_t at =
        block * p.block_stride + (head * p.block_size + offset) * p.head_dim + j % p.head_dim;
    static_cast<T*>(p.k_cache)[at] = device_from_f32<T>(p.k[token * p.k_stride + j]);
    static_cast<T*>(p.v_cache)[at] = device_from_f32<T>(p.v[token * p.v_stride + j]);
  }
}

struct LatentAppendParams {
  const float* latent;
  int64_t latent_stride;
  const float* rope_key;
  int64_t rope_stride;
  const int64_t* slots;
  void* cache;
  int64_t block_stride;
  int64_t block_size;
  int64_t rank;
  int64_t width;
};

template <typename T>
__global__ void latent_append_kernel(LatentAppendParams p) {
  const int64_t token = blockIdx.x;
  const int64_t slot = p.slots[token];
  T* to = static_cast<T*>(p.cache) + slot / p.block_size * p.block_stride +
          slot % p.block_size * p.width;
  for (int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    to[c] = device_from_f32<T>(c < p.rank ? p.latent[token * p.latent_stride + c]
                                          : p.rope_key[token * p.rope_stride + c - p.rank]);
  }
}

}  // namespace

void rope(const RopeArgs& args, const Launcher& launcher) {
  const int64_t n_pairs = args.inv_freq.dim(args.inv_freq.rank - 1);
  if (n_pairs == 0) return;
  CHECK_LE(n_pairs, kMaxBlockThreads) << "rotary dimensions";
  const RopeParams params{
      .q = rope_heads(args.q),
      .k = rope_heads(args.k),
      .positions = args.positions.as<int32_t>(),
      .inv_freq = args.inv_freq.as<float>(),
      .set_of_token = args.set_of_token.defined() ? args.set_of_token.as<int32_t>() : nullptr,
      .n_pairs = n_pairs,
      .interleaved = args.layout == RopeLayout::kInterleaved,
      .scale = args.scale};
  const int64_t n_walkers = n_pairs >= 256 ? 1 : 256 / n_pairs;
  launch(rope_kernel, "rope",
         {.grid_x = args.positions.dim(0),
          .block = threads_for(n_pairs * n_walkers, kMaxBlockThreads)},
         launcher, params);
}

void kv_append(const KvAppendArgs& args, const Launcher& launcher) {
  const AppendParams params{.k = args.k.as<float>(),
                            .k_stride = args.k.row_stride,
                            .v = args.v.as<float>(),
                            .v_stride = args.v.row_stride,
                            .slots = args.slots.as<int64_t>(),
                            .k_cache = args.k_cache.data,
                            .v_cache = args.v_cache.data,
                            .block_stride = args.k_cache.row_stride,
                            .n_kv_heads = args.k.dim(1),
                            .block_size = args.k_cache.dim(2),
                            .head_dim = args.k.dim(2)};
  auto* kernel = args.k_cache.dtype == DType::kF32    ? kv_append_kernel<float>
                 : args.k_cache.dtype == DType::kBF16 ? kv_append_kernel<bf16>
                                                      : kv_append_kernel<f16>;
  launch(
      kernel, "kv_append",
      {.grid_x = args.slots.dim(0), .block = threads_for(params.n_kv_heads * params.head_dim, 512)},
      launcher, params);
}

void latent_append(const LatentAppendArgs& args, const Launcher& launcher) {
  const LatentAppendParams params{.latent = args.latent.as<float>(),
                                  .latent_stride = args.latent.row_stride,
                                  .rope_key = args.rope_key.as<float>(),
                                  .rope_stride = args.rope_key.row_stride,
                                  .slots = args.slots.as<int64_t>(),
                                  .cache = args.cache.data,
                                  .block_stride = args.cache.row_stride,
                                  .block_size = args.cache.dim(1),
                                  .rank = args.latent.dim(1),
                                  .width = args.cache.dim(2)};
  auto* kernel = args.cache.dtype == DType::kF32    ? latent_append_kernel<float>
                 : args.cache.dtype == DType::kBF16 ? latent_append_kernel<bf16>
                                                    : latent_append_kernel<f16>;
  launch(kernel, "latent_append",
         {.grid_x = args.slots.dim(0), .block = threads_for(params.width, 512)}, launcher, params);
}

}  // namespace trireme::kernels::cuda
