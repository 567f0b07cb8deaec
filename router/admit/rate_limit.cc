#include "router/admit/rate_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace trireme::router {
namespace {

constexpr int64_t kMinuteNs = 60 * kSecondNs;
constexpr int64_t kDayNs = 86'400 * kSecondNs;

// Of two limits of one kind, the one with less left.
void choose(Bucket& minute, Bucket& day, int64_t now_ns, bool* has, int64_t* limit,
            int64_t* remaining, int64_t* reset_ns) {
  for (Bucket* bucket : {&minute, &day}) {
    if (bucket->unlimited()) continue;
    if (*has && bucket->remaining(now_ns) >= *remaining) continue;
    *has = true;
    *limit = bucket->limit();
    *remaining = bucket->remaining(now_ns);
    *reset_ns = bucket->full_in_ns(now_ns);
  }
}

}  // namespace

void Bucket::refill(int64_t now_ns) {
  if (last_ns_ != 0 && now_ns > last_ns_) {
    const double gained =
        share_ * static_cast<double>(now_ns - last_ns_) / static_cast<double>(window_ns_);
    level_ = std::min(full_, level_ + gained);
  }
  last_ns_ = std::max(last_ns_, now_ns);
}

int64_t Bucket::remaining(int64_t now_ns) {
  refill(now_ns);
  return std::max<int64_t>(0, static_cast<int64_t>(std::floor(level_ + 1e-9)));
}

int64_t Bucket::wait_ns(int64_t amount, int64_t now_ns) {
  if (unlimited()) return 0;
  refill(now_ns);
  if (amount > limit_) return window_ns_;
  const double missing = std::min(static_cast<double>(amount), full_) - level_;
  if (missing <= 1e-9) return 0;
  return static_cast<int64_t>(std::ceil(missing * static_cast<double>(window_ns_) / share_));
}

void Bucket::take(int64_t amount, int64_t now_ns) {
  if (unlimited()) return;
  refill(now_ns);
  level_ -= static_cast<double>(amount);
}

void Bucket::give_back(int64_t amount, int64_t now_ns) {
  if (unlimited()) return;
  refill(now_ns);
  level_ = std::min(full_, level_ + static_cast<double>(amount));
}

int64_t Bucket::full_in_ns(int64_t now_ns) {
  refill(now_ns);
  return static_cast<int64_t>(
      std::ceil((full_ - level_) * static_cast<double>(window_ns_) / share_));
}

RateLimiter::Buckets::Buckets(const KeyConfig& key, int n_shares)
    : rpm(key.rpm, kMinuteNs, n_shares),
      rpd(key.rpd, kDayNs, n_shares),
      tpm(key.tpm, kMinuteNs, n_shares),
      tpd(key.tpd, kDayNs, n_shares) {}

RateLimiter::Buckets& RateLimiter::of(const KeyConfig& key, const std::string& model) {
  const std::pair id(key.name, model);
  const auto known = buckets_.find(id);
  if (known != buckets_.end()) return known->second;
  return buckets_.emplace(id, Buckets(key, n_routers_)).first->second;
}

std::optional<RateRefusal> RateLimiter::admit(const KeyConfig& key, const std::string& model,
                                              int64_t tokens, int64_t now_ns) {
  Buckets& buckets = of(key, model);
  struct Check {
    Bucket* bucket;
    int64_t amount;
    const char* type;
    const char* window;
  };
  const std::array<Check, 4> checks = {{{&buckets.rpm, 1, "requests", "minute"},
                                        {&buckets.rpd, 1, "requests", "day"},
                                        {&buckets.tpm, tokens, "tokens", "minute"},
                                        {&buckets.tpd, tokens, "tokens", "day"}}};
  std::optional<RateRefusal> refusal;
  for (const Check& check : checks) {
    const int64_t wait_ns = check.bucket->wait_ns(check.amount, now_ns);
    if (wait_ns == 0 || (refusal && refusal->retry_after_ns >= wait_ns)) continue;
    const bool never = check.amount > check.bucket->limit();
    refusal = RateRefusal{
        never ? fmt::format("the request asks for {} {} and the limit is {} per {}", check.amount,
                            check.type, check.bucket->limit(), check.window)
              : fmt::format("the limit of {} {} per {} is reached", check.bucket->limit(),
                            check.type, check.window),
        check.type, wait_ns, never};
  }
  if (refusal) return refusal;
  for (const Check& check : checks) check.bucket->take(check.amount, now_ns);
  return std::nullopt;
}

void RateLimiter::settle(const KeyConfig& key, const std::string& model, int64_t charged,
                         int64_t actual, int64_t now_ns) {
  Buckets& buckets = of(key, model);
  for (Bucket* bucket : {&buckets.tpm, &buckets.tpd}) {
    if (actual <= charged) {
      bucket->give_back(charged - actual, now_ns);
    } else {
      bucket->take(actual - charged, now_ns);
    }
  }
}

RateHeaders RateLimiter::headers(const KeyConfig& key, const std::string& model, int64_t now_ns) {
  Buckets& buckets = of(key, model);
  RateHeaders out;
  choose(buckets.rpm, buckets.rpd, now_ns, &out.has_requests, &out.limit_requests,
         &out.remaining_requests, &out.reset_requests_ns);
  choose(buckets.tpm, buckets.tpd, now_ns, &out.has_tokens, &out.limit_tokens,
         &out.remaining_tokens, &out.reset_tokens_ns);
  return out;
}

std::string format_reset(int64_t ns) {
  const int64_t ms = (ns + 999'999) / 1'000'000;
  if (ms < 1000) return fmt::format("{}ms", ms);
  const int64_t seconds = (ms + 999) / 1000;
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{}s", seconds / 60, seconds % 60);
  return fmt::format("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

}  // namespace trireme::router
