// The sum over peers' memory: push, meet, add, norm, in one launch (kernels/peer_sum.h).
//
// A block is responsible for the same elements on every rank, so it waits for its namesakes alone.
// Where several blocks share a row, the last of them norms it, walking the row as rms_norm does.
#include "kernels/cuda/norm_device.h"
#include "kernels/cuda/peer_device.h"
#include "kernels/cuda/peer_sum.h"

namespace trireme::kernels::cuda {
namespace {

__device__ __forceinline__ int block_number() {
  return static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
}

__device__ __forceinline__ float* inbox(const PeerSumParams& p, int of, unsigned epoch, int from) {
  return reinterpret_cast<float*>(p.windows[of] + peer_inbox_offset(p.window, epoch, from));
}

__device__ __forceinline__ unsigned* flag(const PeerSumParams& p, int of, int from) {
  return reinterpret_cast<unsigned*>(p.windows[of]) + peer_flag_index(from, block_number());
}

// Calls function(row, column) for this block's elements, kCount at a time.
template <int kCount, typename Function>
__device__ __forceinline__ void each_of_stretch(const PeerSumParams& p, Function&& function) {
  const PeerStretch stretch = peer_stretch(p.width, gridDim.x, blockIdx.x);
  const int64_t step = static_cast<int64_t>(blockDim.x) * kCount;
  for (int64_t row = blockIdx.y; row < p.n_rows; row += gridDim.y) {
    for (int64_t j = stretch.begin + static_cast<int64_t>(threadIdx.x) * kCount; j < stretch.end;
         j += step) {
      function(row, j);
    }
  }
}

template <int kCount>
__device__ __forceinline__ void push(const PeerSumParams& p, unsigned epoch) {
  each_of_stretch<kCount>(p, [&](int64_t row, int64_t j) {
    const auto values = load_vector<kCount>(p.delta + row * p.delta_stride + j);
    // Each rank begins with its right neighbour, so that not all write to rank 0 first.
    for (int i = 1; i < p.window.n_ranks; ++i) {
      const int to = (p.rank + i) % p.window.n_ranks;
      store_vector(inbox(p, to, epoch, p.rank) + row * p.width + j, values);
    }
  });
}

// Polls the host's word now and then: it is far away.
__device__ __forceinline__ void wait_for(const PeerSumParams& p, const unsigned* word,
                                         unsigned epoch) {
  const uint64_t begin_ns = device_time_ns();
  for (unsigned polls = 1; !peer_has_come(load_acquire_system(word), epoch); ++polls) {
    spin_pause();
    if (polls % 64 != 0) continue;
    const bool is_late = device_time_ns() - begin_ns > p.patience_ns;
    if (is_late) store_relaxed(&p.host->stop, 1);
    if (is_late || load_relaxed(&p.host->stop) != 0) {
      store_relaxed(&p.host->gave_up, 1);
      return;
    }
  }
}

// This block's part is in every window, and every rank's in this one.
__device__ __forceinline__ void meet(const PeerSumParams& p, unsigned epoch) {
  block_sync();
  const int peer = static_cast<int>(threadIdx.x);
  const bool has_peer = peer < p.window.n_ranks && peer != p.rank;
  if (has_peer) store_release_system(flag(p, peer, p.rank), epoch);
  warp_sync();  // all have spoken before one listens
  if (has_peer) wait_for(p, flag(p, p.rank, peer), epoch);
  block_sync();
}

template <int kCount>
__device__ __forceinline__ void add(const PeerSumParams& p, unsigned epoch) {
  each_of_stretch<kCount>(p, [&](int64_t row, int64_t j) {
    Vector<float, kCount> sum{};
    for (int r = 0; r < p.window.n_ranks; ++r) {
      const auto term =
          r == p.rank ? load_vector<kCount>(p.delta + row * p.delta_stride + j)
                      : load_fresh_vector<kCount>(inbox(p, p.rank, epoch, r) + row * p.width + j);
      for (int i = 0; i < kCount; ++i) sum.at[i] = r == 0 ? term.at[i] : sum.at[i] + term.at[i];
    }
    float* residual = p.residual + row * p.residual_stride + j;
    auto values = load_vector<kCount>(residual);
    for (int i = 0; i < kCount; ++i) {
      values.at[i] = add_scaled(values.at[i], p.delta_scale, sum.at[i]);
    }
    store_vector(residual, values);
  });
}

// Whether all stretches of this block's rows are summed: true in the last block of them, in which
// every thread may read them.
__device__ __forceinline__ bool is_last_of_rows(const PeerSumParams& p) {
  __shared__ unsigned n_before;
  device_fence();
  block_sync();
  if (threadIdx.x == 0) n_before = atomic_increment(&p.control->stretches_done[blockIdx.y]);
  block_sync();
  device_fence();
  return n_before + 1 == gridDim.x;
}

template <typename Out, int kCount>
__device__ __forceinline__ void norm_rows(const PeerSumParams& p) {
  __shared__ float scratch[kWarpSize];
  const int64_t step = static_cast<int64_t>(blockDim.x) * kCount;
  const int64_t first = static_cast<int64_t>(threadIdx.x) * kCount;
  for (int64_t row = blockIdx.y; row < p.n_rows; row += gridDim.y) {
    const float* x = p.residual + row * p.residual_stride;
    float sum = 0;
    for (int64_t j = first; j < p.width; j += step) {
      add_squares(load_fresh_vector<kCount>(x + j), sum);
    }
    const float inv_rms = inverse_rms(block_sum(sum, scratch), p.width, p.eps);
    Out* out = static_cast<Out*>(p.out) + row * p.out_stride;
    for (int64_t j = first; j < p.width; j += step) {
      store_normed(load_fresh_vector<kCount>(x + j), inv_rms, p.weight + j, out + j);
    }
  }
}

// The counters are for the next call again, which has the next number. Every block has read this
// one's before it could be counted as done.
__device__ __forceinline__ void finish(const PeerSumParams& p, unsigned epoch) {
  if (threadIdx.x != 0) return;
  p.control->stretches_done[blockIdx.y] = 0;
  if (atomic_increment(&p.control->rows_done) + 1 < gridDim.y) return;
  p.control->rows_done = 0;
  store_relaxed(&p.control->epoch, epoch);
}

template <typename Out, int kCount>
__global__ void __launch_bounds__(kPeerThreads) peer_sum_kernel(PeerSumParams p) {
  const unsigned epoch = load_relaxed(&p.control->epoch) + 1;
  push<kCount>(p, epoch);
  meet(p, epoch);
  add<kCount>(p, epoch);
  if (!is_last_of_rows(p)) return;
  if (p.out != nullptr) norm_rows<Out, kCount>(p);
  finish(p, epoch);
}

}  // namespace

void peer_sum(const AddRmsNormArgs& args, const PeerSumCall& call, const Launcher& launcher) {
  const bool has_norm = args.weight.defined();
  PeerSumParams params = call.peers;
  params.delta = args.delta.as<float>();
  params.delta_stride = args.delta.row_stride;
  params.residual = args.residual.as<float>();
  params.residual_stride = args.residual.row_stride;
  params.weight = has_norm ? args.weight.as<float>() : nullptr;
  params.out = args.out.data;
  params.out_stride = args.out.row_stride;
  params.n_rows = args.residual.dim(0);
  params.width = args.residual.dim(1);
  params.delta_scale = args.delta_scale;
  params.eps = args.eps;
  const bool vectors = takes_vectors(args.residual) && takes_vectors(args.delta) &&
                       takes_vectors(args.out) &&
                       reinterpret_cast<uintptr_t>(args.weight.data) % 16 == 0;
  const LaunchShape shape = peer_sum_shape(params.n_rows, params.width, vectors, call.max_blocks);
  check_peer_sum(params, shape);
  auto* kernel = args.out.dtype == DType::kBF16
                     ? (vectors ? peer_sum_kernel<bf16, 4> : peer_sum_kernel<bf16, 1>)
                     : (vectors ? peer_sum_kernel<float, 4> : peer_sum_kernel<float, 1>);
  launch(kernel, "peer_sum", shape, launcher, params);
}

void load_peer_sum() {
  for (auto* kernel : {peer_sum_kernel<bf16, 4>, peer_sum_kernel<bf16, 1>,
                       peer_sum_kernel<float, 4>, peer_sum_kernel<float, 1>}) {
    load_kernel(reinterpret_cast<const void*>(kernel));
  }
}

}  // namespace trireme::kernels::cuda
