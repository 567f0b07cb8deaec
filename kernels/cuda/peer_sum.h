// The arithmetic of sums over peers' memory (kernels/peer_sum.h): where things lie in a window, how
// rows are cut over blocks, what a launch is given and whether it may be.
//
// A window is what the other ranks write into: a flag for each rank and block, then for each of two
// turns and each rank an inbox of one delta. Calls take turns. A rank that writes into an inbox of
// turn t has seen every flag of the call between, and these were raised by ranks that were done
// with the call before: so one meeting per call is enough. Plain arithmetic, compiled and tested
// without CUDA.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "kernels/cuda/launch_shape.h"
#include "kernels/peer_sum.h"

namespace trireme::kernels::cuda {

struct Launcher;

// Few enough that all of them run at once on every GPU that is served: none waits for a flag of a
// block that has no place.
inline constexpr int kMaxPeerBlocks = 64;
inline constexpr int kPeerThreads = 512;

// The shape of every rank's window.
struct PeerWindow {
  int64_t max_bytes = 0;  // of an inbox, a multiple of 16
  int n_ranks = 1;
};

TRIREME_HD constexpr int64_t peer_flag_index(int rank, int block) {
  return static_cast<int64_t>(rank) * kMaxPeerBlocks + block;
}
TRIREME_HD constexpr int64_t peer_flag_bytes() {
  return static_cast<int64_t>(kMaxPeers) * kMaxPeerBlocks * 4;
}
// Where rank `from` leaves its delta of the call with this number.
TRIREME_HD constexpr int64_t peer_inbox_offset(const PeerWindow& window, unsigned epoch, int from) {
  return peer_flag_bytes() +
         (static_cast<int64_t>(epoch % 2) * window.n_ranks + from) * window.max_bytes;
}
TRIREME_HD constexpr int64_t peer_window_bytes(const PeerWindow& window) {
  return peer_flag_bytes() + 2 * window.n_ranks * window.max_bytes;
}
// Numbers of calls go round after 2^32; a flag is never half of that ahead or behind.
TRIREME_HD constexpr bool peer_has_come(unsigned flag, unsigned epoch) {
  return static_cast<int32_t>(flag - epoch) >= 0;
}

// The columns [begin, end) of a row that one block of several sums; begin is a multiple of 4.
struct PeerStretch {
  int64_t begin = 0;
  int64_t end = 0;
};
TRIREME_HD constexpr PeerStretch peer_stretch(int64_t width, int64_t n_stretches, int64_t index) {
  const int64_t each = ceil_div<int64_t>(ceil_div<int64_t>(width, 4), n_stretches) * 4;
  const int64_t begin = index * each < width ? index * each : width;
  return {begin, begin + each < width ? begin + each : width};
}

// Blocks along x are the stretches of a row; along y blocks take rows in turn. The grid is the same
// on all ranks, whatever their addresses; the threads are those of rms_norm, so that its sum of
// squares has the same order here.
inline LaunchShape peer_sum_shape(int64_t n_rows, int64_t width, bool vectors, int max_blocks) {
  if (n_rows == 0) return {.block = kWarpSize};
  const int64_t most = std::clamp(max_blocks, 1, kMaxPeerBlocks);
  const int64_t useful = ceil_div<int64_t>(ceil_div<int64_t>(width, 4), kPeerThreads);
  const int64_t stretches = std::clamp<int64_t>(most / n_rows, 1, useful);
  return {.grid_x = stretches,
          .grid_y = std::min(n_rows, most / stretches),
          .block = threads_for(vectors ? width / 4 : width, kPeerThreads)};
}

// On the device, one per rank, zero at first.
struct PeerControl {
  unsigned epoch = 0;                       // calls that are done
  unsigned rows_done = 0;                   // blocks of grid_y of the call under way
  unsigned stretches_done[kMaxPeerBlocks];  // by blockIdx.y
};

// In host memory that the device sees, one per rank, zero at first.
struct PeerHostWords {
  unsigned stop = 0;     // by the host, or by the device that gave up
  unsigned gave_up = 0;  // by the device
};

struct PeerSumParams {
  unsigned char* windows[kMaxPeers];  // by rank, this one's included
  PeerWindow window;
  int rank = 0;
  PeerControl* control = nullptr;
  PeerHostWords* host = nullptr;
  uint64_t patience_ns = 0;
  const float* delta = nullptr;
  int64_t delta_stride = 0;
  float* residual = nullptr;
  int64_t residual_stride = 0;
  const float* weight = nullptr;
  void* out = nullptr;  // or nullptr: no norm
  int64_t out_stride = 0;
  int64_t n_rows = 0;
  int64_t width = 0;
  float delta_scale = 1;
  float eps = 0;
};

// What must hold of every launch.
inline void check_peer_sum(const PeerSumParams& p, const LaunchShape& shape) {
  CHECK_GE(p.rank, 0);
  CHECK_LT(p.rank, p.window.n_ranks);
  CHECK_LE(p.window.n_ranks, kMaxPeers);
  CHECK_LE(p.window.n_ranks, shape.block) << "a thread per rank waits";
  CHECK_EQ(p.window.max_bytes % 16, 0);
  CHECK_LE(p.n_rows * p.width * 4, p.window.max_bytes) << "an inbox is too small";
  CHECK_LE(shape.grid_x * shape.grid_y, kMaxPeerBlocks);
  CHECK_EQ(shape.grid_z, 1);
  CHECK_GT(p.patience_ns, uint64_t{0});
  CHECK((p.weight == nullptr) == (p.out == nullptr));
  for (int r = 0; r < p.window.n_ranks; ++r) CHECK(p.windows[r] != nullptr) << "rank " << r;
}

// peer_sum.cu. The operands of `args`, whose shapes have been checked; `peers` says the rest.
struct PeerSumCall {
  PeerSumParams peers;
  int max_blocks = 0;
};
void peer_sum(const AddRmsNormArgs& args, const PeerSumCall& call, const Launcher& launcher);
// Brings the kernels onto the device, so that no first launch has to wait for others' work.
void load_peer_sum();

}  // namespace trireme::kernels::cuda
