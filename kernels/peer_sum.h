// PeerSum: one rank's end of a sum over GPUs that write into each other's memory, fused with the
// residual sum and the RMS norm behind it.
//
//   residual += delta_scale * (delta of rank 0 + delta of rank 1 + ...);  out = rms_norm(residual)
//
// One kernel: each rank writes its delta into every other rank's window, says so by a flag, waits
// for the others' flags, and adds what came in rank order, each partial sum in f32. So every rank
// holds the same bits, and those are what sum_in_rank_order and Backend::add_rms_norm make one
// after the other. Knows nothing of groups: who the ranks are, how offers travel and when this way
// is taken is parallel/comm's (comm/one_shot).
//
// Every rank makes the same calls with the same shapes in the same order, each on one stream of its
// own. Calls are enqueued and may be recorded (Backend::begin_recording): what a replay needs to
// know of the calls before it is kept on the device. Driven by one thread; `abort` and `gave_up`
// from any.
//
// Cost: (n_ranks - 1) times delta over the links, one flag each way per block; good for few rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/ops.h"

namespace trireme::kernels {

// As many GPUs as one machine links to each other.
inline constexpr int kMaxPeers = 8;
// How long a rank waits for another, where nothing else is said.
inline constexpr int64_t kPeerPatienceNs = 600'000'000'000;

struct PeerSumOptions {
  int rank = 0;
  int n_ranks = 1;           // at most kMaxPeers
  int64_t max_bytes = 0;     // of a delta: n_tokens * hidden * 4; a window has 2 n_ranks of them
  bool one_process = false;  // the ranks are threads of this process: windows have one address
  int max_blocks = 0;        // of a launch, the same on all ranks; 0: the most there may be
};

// What a rank tells the others, as bytes: where its window is.
struct PeerOffer {
  uint64_t address = 0;  // in its own process
  int64_t max_bytes = 0;
  int32_t max_blocks = 0;
  std::array<char, 20> device{};  // the GPU's address on the bus
  std::array<std::byte, 64> handle{};
};
static_assert(std::is_trivially_copyable_v<PeerOffer>);

class PeerSum {
 public:
  virtual ~PeerSum() = default;

  virtual PeerOffer offer() const = 0;
  // Opens the other ranks' windows; offers[r] is rank r's. Once. failed_precondition with the
  // reason: a GPU that cannot reach another's memory, a driver that does not share it, options that
  // differ.
  virtual Status connect(std::span<const PeerOffer> offers) = 0;

  // Whether a sum is of a kind and size for `add_rms_norm`: the same answer on every rank.
  virtual bool takes(const AddRmsNormArgs& args) const = 0;
  // Backend::add_rms_norm with the sum over ranks of `delta`, which is left as it is. Without
  // weight and out (undefined), the residual sum alone. After `connect`, of what it `takes`.
  virtual void add_rms_norm(const AddRmsNormArgs& args, Stream stream) = 0;

  // A rank that waits longer for another than this gives up. kPeerPatienceNs, where nothing is
  // said.
  virtual void set_patience_ns(int64_t patience_ns) = 0;
  // Makes every wait of this rank, under way or to come, give up soon. Not undone.
  virtual void abort() = 0;
  // A wait was given up: what was computed since is worth nothing.
  virtual bool gave_up() const = 0;
};

// On the calling thread's current device. resource_exhausted; failed_precondition where this build
// has no CUDA.
Result<std::unique_ptr<PeerSum>> make_cuda_peer_sum(const PeerSumOptions& options);

}  // namespace trireme::kernels
