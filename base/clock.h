// Time, handed in: no policy or state machine of ours reads a clock that a test cannot set.
#pragma once

#include <atomic>
#include <cstdint>

namespace trireme {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic nanoseconds; the origin has no meaning.
  virtual int64_t now_ns() const = 0;
  // Nanoseconds since the Unix epoch: for timestamps that a person reads, never for durations.
  virtual int64_t unix_ns() const = 0;
};

// The machine's clock. Stateless: copies are one clock.
class SystemClock final : public Clock {
 public:
  int64_t now_ns() const override;
  int64_t unix_ns() const override;
};

// A clock that a test moves. Thread-safe.
class ManualClock final : public Clock {
 public:
  int64_t now_ns() const override { return now_ns_.load(); }
  int64_t unix_ns() const override { return unix_origin_ns_ + now_ns_.load(); }
  void advance_ns(int64_t delta_ns) { now_ns_.fetch_add(delta_ns); }

 private:
  static constexpr int64_t unix_origin_ns_ = 1'700'000'000'000'000'000;
  std::atomic<int64_t> now_ns_{1};
};

}  // namespace trireme
