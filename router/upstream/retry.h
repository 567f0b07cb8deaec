// When to try again: backoff, the retry budget and each replica's breaker. Pure: the clock and the
// randomness are handed in.
//
// Figures of conventions section 3: 5 tries, 50 ms doubling to 5 s with jitter 0.1; a budget of 20
// % of requests + 10/s; a breaker that opens for 30 s after 5 failures in a row and closes after 2
// successes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/cluster_config.h"
#include "router/balance/balance.h"

namespace trireme::router {

inline constexpr int kMaxTries = 5;

// The wait before try number `tries` + 1, tries >= 1.
inline int64_t backoff_ns(int tries, Random& random) {
  const int64_t base =
      std::min<int64_t>(5 * kSecondNs, (50 * kMillisecondNs) << std::min(tries - 1, 20));
  return static_cast<int64_t>(static_cast<double>(base) * (0.9 + 0.2 * random.uniform()));
}

// Keeps retries from becoming the load that they flee from.
class RetryBudget {
 public:
  void on_request(int64_t now_ns) {
    refill(now_ns);
    level_ = std::min(kMax, level_ + 0.2);
  }
  bool take(int64_t now_ns) {
    refill(now_ns);
    if (level_ < 1) return false;
    level_ -= 1;
    return true;
  }

 private:
  static constexpr double kMax = 100;
  void refill(int64_t now_ns) {
    if (last_ns_ != 0)
      level_ = std::min(kMax, level_ + 10e-9 * static_cast<double>(now_ns - last_ns_));
    last_ns_ = now_ns;
  }
  double level_ = 10;
  int64_t last_ns_ = 0;
};

class Breaker {
 public:
  bool allows(int64_t now_ns) const { return !open_ || now_ns >= half_open_ns_; }
  // A request was let through: while the breaker is open, one probe a second and no more.
  void on_probe(int64_t now_ns) {
    if (open_) half_open_ns_ = now_ns + kSecondNs;
  }
  void on_success() {
    failures_ = 0;
    if (open_ && ++successes_ >= 2) open_ = false;
  }
  void on_failure(int64_t now_ns) {
    successes_ = 0;
    if (open_ || ++failures_ >= 5) {
      open_ = true;
      half_open_ns_ = now_ns + 30 * kSecondNs;
    }
  }
  bool open() const { return open_; }

 private:
  int failures_ = 0;
  int successes_ = 0;
  bool open_ = false;
  int64_t half_open_ns_ = 0;
};

}  // namespace trireme::router
