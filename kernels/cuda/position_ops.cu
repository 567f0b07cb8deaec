// Ops that know where a token stands: rotary embedding and the write into the paged cache, alone
// and in one pass with the norms before them.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/head_roles.h"

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

// Into half a turn around zero in f64; from there f32 is accurate.
__device__ __forceinline__ float reduced_angle(float inv_freq, int32_t position) {
  constexpr double kTurn = 6.283185307179586476925;
  const double angle = static_cast<double>(inv_freq) * position;
  return static_cast<float>(angle - kTurn * rint(angle * (1 / kTurn)));
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
  const float reduced = reduced_angle(p.inv_freq[set * p.n_pairs + i], p.positions[token]);
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
  float k_factor;  // of what is stored: one over its scale
  float v_factor;
};

// First element of a head's channels in its slot.
__device__ __forceinline__ int64_t cache_offset(const AppendParams& p, int64_t slot, int64_t head) {
  return slot / p.block_size * p.block_stride +
         (head * p.block_size + slot % p.block_size) * p.head_dim;
}

template <typename T>
__global__ void kv_append_kernel(AppendParams p) {
  const int64_t token = blockIdx.x;
  const int64_t slot = p.slots[token];
  for (int64_t j = threadIdx.x; j < p.n_kv_heads * p.head_dim; j += blockDim.x) {
    const int64_t at = cache_offset(p, slot, j / p.head_dim) + j % p.head_dim;
    static_cast<T*>(p.k_cache)[at] = device_from_f32<T>(p.k[token * p.k_stride + j] * p.k_factor);
    static_cast<T*>(p.v_cache)[at] = device_from_f32<T>(p.v[token * p.v_stride + j] * p.v_factor);
  }
}

struct NormRopeAppendParams {
  RopeParams rope;  // n_pairs 0: nothing is rotated
  AppendParams append;
  const float* q_norm;  // or nullptr
  const float* k_norm;
  float eps;
  int64_t n_tokens;
};

// A warp per head of q, k and v. The head lies in shared memory between its norm and its rotation.
template <typename T>
__global__ void norm_rope_append_kernel(NormRopeAppendParams p) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int64_t lane = threadIdx.x % kWarpSize;
  const int64_t n_heads = p.rope.q.n_heads + 2 * p.append.n_kv_heads;
  const int64_t of_all = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarpSize) + warp;
  if (of_all >= p.n_tokens * n_heads) return;
  const int64_t token = of_all / n_heads;
  const HeadRole role = head_role(of_all % n_heads, p.rope.q.n_heads, p.append.n_kv_heads);
  const int64_t head_dim = p.append.head_dim;
  float* q = p.rope.q.x + token * p.rope.q.stride + role.head * head_dim;
  const float* from =
      role.part == 0
          ? q
          : (role.part == 1 ? p.append.k + token * p.append.k_stride + role.head * head_dim
                            : p.append.v + token * p.append.v_stride + role.head * head_dim);
  T* cache = nullptr;
  if (role.part != 0) {
    cache = static_cast<T*>(role.part == 1 ? p.append.k_cache : p.append.v_cache) +
            cache_offset(p.append, p.append.slots[token], role.head);
  }
  const float factor = role.part == 1 ? p.append.k_factor : p.append.v_factor;
  const auto put = [&](int64_t channel, float value) {
    if (role.part == 0) {
      q[channel] = value;
    } else {
      cache[channel] = device_from_f32<T>(value * factor);
    }
  };
  float* x = reinterpret_cast<float*>(dynamic_shared()) + warp * head_dim;
  float sum = 0;
  for (int64_t c = lane; c < head_dim; c += kWarpSize) {
    x[c] = from[c];
    sum += x[c] * x[c];
  }
  const float* weight = role.part == 0 ? p.q_norm : (role.part == 1 ? p.k_norm : nullptr);
  if (weight != nullptr) {
    const float inv = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(head_dim) + p.eps);
    for (int64_t c = lane; c < head_dim; c += kWarpSize) x[c] = x[c] * inv * weight[c];
  }
  warp_sync();
  const int64_t n_pairs = role.part == 2 ? 0 : p.rope.n_pairs;
  const int64_t set =
      n_pairs == 0 || p.rope.set_of_token == nullptr ? 0 : p.rope.set_of_token[token];
  for (int64_t i = lane; i < n_pairs; i += kWarpSize) {
    const float reduced =
        reduced_angle(p.rope.inv_freq[set * n_pairs + i], p.rope.positions[token]);
    const float cos = cosf(reduced) * p.rope.scale;
    const float sin = sinf(reduced) * p.rope.scale;
    const int64_t first = p.rope.interleaved ? 2 * i : i;
    const int64_t second = p.rope.interleaved ? 2 * i + 1 : i + n_pairs;
    const float a = x[first];
    const float b = x[second];
    put(first, a * cos - b * sin);
    put(second, b * cos + a * sin);
  }
  for (int64_t c = 2 * n_pairs + lane; c < head_dim; c += kWarpSize) put(c, x[c]);
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
  float factor;  // one over the scale
};

template <typename T>
__global__ void latent_append_kernel(LatentAppendParams p) {
  const int64_t token = blockIdx.x;
  const int64_t slot = p.slots[token];
  T* to = static_cast<T*>(p.cache) + slot / p.block_size * p.block_stride +
          slot % p.block_size * p.width;
  for (int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    const float value = c < p.rank ? p.latent[token * p.latent_stride + c]
                                   : p.rope_key[token * p.rope_stride + c - p.rank];
    to[c] = device_from_f32<T>(value * p.factor);
  }
}

RopeParams rope_params(const RopeArgs& args) {
  return {.q = rope_heads(args.q),
          .k = rope_heads(args.k),
          .positions = args.positions.as<int32_t>(),
          .inv_freq = args.inv_freq.as<float>(),
          .set_of_token = args.set_of_token.defined() ? args.set_of_token.as<int32_t>() : nullptr,
          .n_pairs = args.inv_freq.dim(args.inv_freq.rank - 1),
          .interleaved = args.layout == RopeLayout::kInterleaved,
          .scale = args.scale};
}

AppendParams append_params(const KvAppendArgs& args) {
  return {.k = args.k.as<float>(),
          .k_stride = args.k.row_stride,
          .v = args.v.as<float>(),
          .v_stride = args.v.row_stride,
          .slots = args.slots.as<int64_t>(),
          .k_cache = args.k_cache.data,
          .v_cache = args.v_cache.data,
          .block_stride = args.k_cache.row_stride,
          .n_kv_heads = args.k.dim(1),
          .block_size = args.k_cache.dim(2),
          .head_dim = args.k.dim(2),
          .k_factor = 1 / args.k_scale,
          .v_factor = 1 / args.v_scale};
}

// function(an element of the type that a cache holds).
template <typename Function>
auto by_cache_type(DType dtype, Function&& function) {
  if (dtype == DType::kF32) return function(float{});
  if (dtype == DType::kBF16) return function(bf16{});
  if (dtype == DType::kE4M3) return function(e4m3{});
  return function(f16{});
}

}  // namespace

void rope(const RopeArgs& args, const Launcher& launcher) {
  const RopeParams params = rope_params(args);
  const int64_t n_pairs = params.n_pairs;
  if (n_pairs == 0) return;
  CHECK_LE(n_pairs, kMaxBlockThreads) << "rotary dimensions";
  const int64_t n_walkers = n_pairs >= 256 ? 1 : 256 / n_pairs;
  launch(rope_kernel, "rope",
         {.grid_x = args.positions.dim(0),
          .block = threads_for(n_pairs * n_walkers, kMaxBlockThreads)},
         launcher, params);
}

void kv_append(const KvAppendArgs& args, const Launcher& launcher) {
  const AppendParams params = append_params(args);
  auto* kernel = by_cache_type(args.k_cache.dtype,
                               [](auto cached) { return kv_append_kernel<decltype(cached)>; });
  launch(
      kernel, "kv_append",
      {.grid_x = args.slots.dim(0), .block = threads_for(params.n_kv_heads * params.head_dim, 512)},
      launcher, params);
}

void norm_rope_append(const NormRopeAppendArgs& args, const Launcher& launcher) {
  NormRopeAppendParams params{.rope = {},
                              .append = append_params(append_part(args)),
                              .q_norm = args.q_norm.defined() ? args.q_norm.as<float>() : nullptr,
                              .k_norm = args.k_norm.defined() ? args.k_norm.as<float>() : nullptr,
                              .eps = args.norm_eps,
                              .n_tokens = args.q.dim(0)};
  if (args.inv_freq.defined()) {
    params.rope = rope_params(rope_part(args));
  } else {
    params.rope.q = rope_heads(args.q);
  }
  auto* kernel = by_cache_type(
      args.k_cache.dtype, [](auto cached) { return norm_rope_append_kernel<decltype(cached)>; });
  launch(kernel, "norm_rope_append",
         norm_rope_append_shape(params.n_tokens, args.q.dim(1), args.k.dim(1), args.q.dim(2)),
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
                                  .width = args.cache.dim(2),
                                  .factor = 1 / args.cache_scale};
  auto* kernel = by_cache_type(args.cache.dtype,
                               [](auto cached) { return latent_append_kernel<decltype(cached)>; });
  launch(kernel, "latent_append",
         {.grid_x = args.slots.dim(0), .block = threads_for(params.width, 512)}, launcher, params);
}

}  // namespace trireme::kernels::cuda
