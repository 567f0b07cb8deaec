// The cost ledger: every device-nanosecond of a replica times its price, booked once, under one
// name.
//
// Time is a line from the replica's start to "booked until". A booking takes the piece from there
// to now and gives all of it to one part (startup, idle) or splits it over the work of one finished
// step. Steps that overlap in the pipeline therefore never book the same nanosecond twice: each
// gets the time between its completion and the one before.
//
// Money is integer nano-dollars. The total is floor(device_ns * price), so a piece's amount is a
// difference of two floors (cumulative rounding, nothing is lost between pieces), and a step's
// amount is split by cumulative rounding with an offset that moves from step to step, so that the
// shares add up to the amount exactly and nobody keeps the odd nano-dollar. Identity, CHECKed after
// every booking: prefill + decode + idle + startup + recompute + resume == floor(device_ns *
// price).
//
// One thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace trireme::coordinator {

// Work units: what one token weighs when a step's time is split. A decode row reads the weights for
// one token where a prefill row shares them with its chunk, hence the 4 : 1 that list prices of
// output to input also show; the KV term is the attention's walk over what the sequence holds.
inline constexpr int64_t kPrefillTokenWork = 1000;
inline constexpr int64_t kDecodeTokenWork = 4000;
inline constexpr int64_t kKvTokenWork = 1;  // per KV position held at the end of the span

enum class LedgerPart : uint8_t {
  kPrefill,    // prompt tokens: the request pays
  kDecode,     // sampled tokens: the request pays
  kIdle,       // nothing was in flight, or a row was whose sequence had ended
  kStartup,    // from the process's start until every rank was ready
  kRecompute,  // computed again after a preemption
  kResume,     // computed again for a request that began on another replica
};
inline constexpr int kLedgerParts = 6;
std::string_view to_string(LedgerPart part);

struct Work {
  LedgerPart part = LedgerPart::kDecode;
  int64_t units = 0;  // > 0
};

class Ledger {
 public:
  // price: nano-dollars per device-hour, >= 0.
  Ledger(int64_t start_ns, int n_devices, int64_t nano_usd_per_device_hour);

  // Books [booked until, now) under `part`; a `now_ns` before that books nothing. Returns
  // nano-dollars.
  int64_t book(int64_t now_ns, LedgerPart part);
  // Books it over the work of one step: cost[i] nano-dollars for work[i].
  void book_step(int64_t now_ns, std::span<const Work> work, std::span<int64_t> cost);

  int64_t part(LedgerPart part) const { return parts_[static_cast<size_t>(part)]; }
  int64_t total() const;      // nano-dollars, the sum of the parts
  int64_t device_ns() const;  // booked so far
  int64_t booked_until_ns() const { return booked_until_ns_; }

 private:
  int64_t advance(int64_t now_ns);
  int64_t price_of(int64_t device_ns) const;
  void check_identity() const;

  const int64_t start_ns_;
  const int n_devices_;
  const int64_t nano_usd_per_device_hour_;
  int64_t booked_until_ns_;
  uint64_t n_steps_ = 0;
  std::array<int64_t, kLedgerParts> parts_{};
};

// Dollars per hour as nano-dollars per hour, rounded once.
int64_t nano_usd(double usd);

}  // namespace trireme::coordinator
