// PrefillAttention: whether prefills go to the wgmma kernel (attention_wgmma.cu), decided on the
// device that will run them.
//
// The first call that the kernel could take tries it on random data, against the kernel that would
// run otherwise: where the results differ it is never used, with a warning in the log, and where it
// is slower neither. Each type of cache and head size is tried on its own. A process decides anew
// at each start.
#pragma once

#include <array>
#include <cstdint>

#include "base/result.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/runtime.h"

namespace trireme::kernels::cuda {

// One sequence, whose last `n_queries` of `n_keys` positions ask.
struct PrefillTrialShape {
  int64_t n_queries = 0;
  int64_t n_keys = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t block_size = 32;  // the cache's, in tokens
};

struct PrefillTrial {
  float difference = 0;  // the largest between two outputs; not a number where one has none
  float size = 0;        // the largest output
  double wgmma_seconds = 0;
  double present_seconds = 0;
};

// Runs both kernels and waits. Memory for the operands is allocated for the call:
// resource_exhausted where there is none. `rounds` of the clock: 0 measures nothing.
Result<PrefillTrial> try_prefill_attention(const PrefillTrialShape& shape, DType cache, int rounds,
                                           const AttentionWorkspace& workspace,
                                           const Launcher& launcher);
// The same, on a device that nothing else uses: for benches. failed_precondition where it is not
// there or is no Hopper.
Result<PrefillTrial> bench_prefill_attention(const PrefillTrialShape& shape, int device);

// Of the largest output, how far two right kernels may be apart: both round queries and weights to
// the cache's type, but weights relative to different maxima, half a unit in the last of 8 bits
// each. A wrong layout is off by the outputs themselves.
inline constexpr float kPrefillTolerance = 0.01f;

// What a trial says.
enum class PrefillVerdict { kUse, kWrong, kSlow };
constexpr PrefillVerdict judge(const PrefillTrial& trial) {
  if (!(trial.size > 0) || !(trial.difference <= kPrefillTolerance * trial.size)) {
    return PrefillVerdict::kWrong;
  }
  return trial.wgmma_seconds <= trial.present_seconds ? PrefillVerdict::kUse
                                                      : PrefillVerdict::kSlow;
}

// One thread.
class PrefillAttention {
 public:
  // `one_order`: rows must not depend on how a sequence was cut, so that prefill and decode go
  // through one kernel, which is another.
  PrefillAttention(const DeviceInfo& device, bool one_order);

  // Whether the call is wgmma_attention's. While work is recorded nothing is tried.
  bool takes(const AttentionParams& params, const AttentionShapeInfo& info, DType cache,
             const AttentionWorkspace& workspace, const Launcher& launcher);

 private:
  enum class State { kUntried, kUsed, kUnused };
  static State try_out(int64_t head_dim, DType cache, const AttentionWorkspace& workspace,
                       const Launcher& launcher);

  const bool possible_;
  std::array<State, 4> states_{};  // bf16 and f16, heads of 64 and 128 channels
};

}  // namespace trireme::kernels::cuda
