#include "kernels/cpu/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "kernels/cpu/isa_select.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"

namespace trireme::kernels::cpu {
namespace {

constexpr size_t kReadGranularity = 4096;
constexpr size_t kSlices = 16;
// Some 100 us of arithmetic between two looks at the clock.
constexpr int64_t kRounds = 30000;

double now_seconds() {
  const auto t = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(t).count();
}

class Meter final : public LimitMeter {
 public:
  Meter(const IsaKernels& isa, int n_threads, std::unique_ptr<Buffer> memory)
      : isa_(isa), pool_(n_threads), memory_(std::move(memory)) {
    // Pages that were never written all map to the same zeros, which a cache holds.
    auto* words = static_cast<uint64_t*>(memory_->data());
    for (size_t i = 0; i < memory_->bytes() / 8; ++i) words[i] = i * 0x9e3779b97f4a7c15ull;
  }

  MachineLimits measure(double seconds) override {
    MachineLimits limits;
    limits.n_threads = pool_.n_threads();
    limits.read_bytes_per_second = best_rate(seconds / 3, [&] { return read_slice(); });
    limits.f32_flops =
        best_rate(seconds / 3, [&] { return spin(isa_.spin_f32, isa_.spin_f32_flops); });
    if (isa_.spin_bf16 != nullptr) {
      limits.bf16_flops =
          best_rate(seconds / 3, [&] { return spin(isa_.spin_bf16, isa_.spin_bf16_flops); });
    }
    return limits;
  }

 private:
  // The best rate of `work`, which returns how much it did, over this time and at least three
  // rounds.
  template <typename Work>
  static double best_rate(double seconds, Work&& work) {
    double best = 0;
    const double end = now_seconds() + seconds;
    for (int round = 0; round < 3 || now_seconds() < end; ++round) {
      const double start = now_seconds();
      const double amount = work();
      best = std::max(best, amount / (now_seconds() - start));
    }
    return best;
  }

  // Reads the next slice of the memory: short, so that the best of many is one that nothing
  // interrupted, and out of every cache by the time that its turn comes again.
  double read_slice() {
    const size_t all = memory_->bytes() / pool_.n_threads() / kSlices;
    const size_t share = all / kReadGranularity * kReadGranularity;
    const char* slice = static_cast<const char*>(memory_->data()) +
                        share * static_cast<size_t>(pool_.n_threads()) * next_slice_;
    next_slice_ = (next_slice_ + 1) % kSlices;
    pool_.run([&](int thread) {
      sink_.fetch_add(isa_.read_memory(slice + share * thread, share), std::memory_order_relaxed);
    });
    return static_cast<double>(share) * pool_.n_threads();
  }

  double spin(float (*kernel)(int64_t), int64_t flops_per_round) {
    constexpr int kRepeats = 20;
    pool_.run([&](int) {
      float sum = 0;
      for (int i = 0; i < kRepeats; ++i) sum += kernel(kRounds);
      sink_.fetch_add(static_cast<uint64_t>(sum), std::memory_order_relaxed);
    });
    return static_cast<double>(flops_per_round) * kRounds * kRepeats * pool_.n_threads();
  }

  const IsaKernels isa_;
  ThreadPool pool_;
  std::unique_ptr<Buffer> memory_;
  size_t next_slice_ = 0;
  std::atomic<uint64_t> sink_{0};  // results that are used cannot be optimised away
};

}  // namespace

Result<std::unique_ptr<LimitMeter>> LimitMeter::create(int n_threads, size_t bytes) {
  if (n_threads < 1) {
    return invalid_argument("limits are measured on at least one thread, not " +
                            std::to_string(n_threads));
  }
  ASSIGN_OR_RETURN(const IsaKernels isa, select_kernels(""));
  const size_t least = kReadGranularity * kSlices * static_cast<size_t>(n_threads);
  ASSIGN_OR_RETURN(auto memory, allocate_host(std::max(bytes, least)));
  return std::unique_ptr<LimitMeter>(std::make_unique<Meter>(isa, n_threads, std::move(memory)));
}

Result<MachineLimits> measure_machine_limits(int n_threads, size_t bytes, double seconds) {
  ASSIGN_OR_RETURN(auto meter, LimitMeter::create(n_threads, bytes));
  return meter->measure(seconds);
}

}  // namespace trireme::kernels::cpu
