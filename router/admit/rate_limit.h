// Rate limits of tenants: requests and tokens per minute and per day, for each (key, model).
//
// Each limit is a bucket that holds the limit and refills evenly over its window. Admission charges
// the prompt and max_tokens; settle() gives back what was not generated, also for streams. A
// refused admission changes nothing. Pure: the clock is handed in. Not thread-safe.
//
// Routers share nothing, so each of n grants an n-th of every limit, and together they grant what
// one alone would, however clients choose among them. A request that is larger than the share but
// not than the limit is let in by a full bucket, which then owes the rest: that is all by which a
// window can exceed its limit, one such request per router.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/cluster_config.h"

namespace trireme::router {

// One limit. Level is what may still be taken; it can be negative after a charge that turned out
// too small.
class Bucket {
 public:
  Bucket(int64_t limit, int64_t window_ns, int n_shares = 1)
      : limit_(limit),
        window_ns_(window_ns),
        share_(static_cast<double>(limit) / n_shares),
        full_(std::max(1.0, share_)),
        level_(full_) {}

  int64_t limit() const { return limit_; }
  bool unlimited() const { return limit_ <= 0; }
  int64_t remaining(int64_t now_ns);
  // Time until `amount` can be taken; 0: now. An amount beyond what the bucket holds waits for a
  // full one; one beyond the whole limit, for ever.
  int64_t wait_ns(int64_t amount, int64_t now_ns);
  void take(int64_t amount, int64_t now_ns);
  void give_back(int64_t amount, int64_t now_ns);
  int64_t full_in_ns(int64_t now_ns);

 private:
  void refill(int64_t now_ns);

  int64_t limit_;
  int64_t window_ns_;
  double share_;  // of the limit, per window
  double full_;   // what the bucket holds: a share, and one request at least
  double level_;
  int64_t last_ns_ = 0;
};

// What the x-ratelimit-* headers say: of the limit that is nearest to its end, minute or day. The
// limit is the whole one, what remains is what this router still grants.
struct RateHeaders {
  bool has_requests = false, has_tokens = false;
  int64_t limit_requests = 0, remaining_requests = 0, reset_requests_ns = 0;
  int64_t limit_tokens = 0, remaining_tokens = 0, reset_tokens_ns = 0;
};

struct RateRefusal {
  std::string message;  // "the limit of 10 requests per minute is reached"
  std::string type;     // "requests" or "tokens"
  int64_t retry_after_ns = 0;
  bool never = false;  // one request that is larger than the whole limit
};

class RateLimiter {
 public:
  explicit RateLimiter(int n_routers = 1) : n_routers_(n_routers) {}

  // Takes one request and `tokens`, or nothing at all.
  std::optional<RateRefusal> admit(const KeyConfig& key, const std::string& model, int64_t tokens,
                                   int64_t now_ns);
  // The request used `actual` of the `charged` tokens.
  void settle(const KeyConfig& key, const std::string& model, int64_t charged, int64_t actual,
              int64_t now_ns);
  RateHeaders headers(const KeyConfig& key, const std::string& model, int64_t now_ns);

 private:
  struct Buckets {
    Buckets(const KeyConfig& key, int n_shares);
    Bucket rpm, rpd, tpm, tpd;
  };
  Buckets& of(const KeyConfig& key, const std::string& model);

  int n_routers_;
  std::map<std::pair<std::string, std::string>, Buckets> buckets_;  // bounded by the configuration
};

// "12ms", "1s", "6m0s", as the x-ratelimit-reset headers write it.
std::string format_reset(int64_t ns);

}  // namespace trireme::router
