// Waiting for a word of shared memory to change: a short spin, then a sleep in the kernel (futex),
// so that ranks make progress when they outnumber the cores and a rank that waits costs nothing.
//
// Works between threads and between processes that map the same memory. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace trireme::comm {

// A counter that others wait on. Lives in shared memory: zero bytes are its initial state.
struct SharedWord {
  std::atomic<uint32_t> value;
  std::atomic<uint32_t> sleepers;

  uint32_t load() const { return value.load(std::memory_order_acquire); }
  // Stores and wakes who sleeps on it. Sequential consistency pairs with sleep(): either the
  // sleeper sees the new value, or this sees the sleeper.
  void store_and_wake(uint32_t new_value);
  void wake();
  // Sleeps while the value is `seen`, for at most timeout_ns; may return early.
  void sleep(uint32_t seen, int64_t timeout_ns);
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// Tells the core that this is a spin.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or for spin_ns of real time. True when done.
template <typename Done>
bool spin_until(const Done& done, int64_t spin_ns) {
  using Timer = std::chrono::steady_clock;
  constexpr int kPausesPerLook = 16;
  if (done()) return true;
  if (spin_ns <= 0) return false;
  const auto end = Timer::now() + std::chrono::nanoseconds(spin_ns);
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      spin_pause();
      if (done()) return true;
    }
  } while (Timer::now() < end);
  return false;
}

// How many cores this thread may run on.
int usable_cores();

}  // namespace trireme::comm
