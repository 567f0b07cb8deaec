#include "coordinator/ledger/ledger.h"

#include <cmath>
#include <numeric>

#include "base/check.h"

namespace trireme::coordinator {

namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;

// A number in [0, total) that walks evenly over it as `step` grows (Weyl sequence of the golden
// ratio).
int64_t moving_offset(uint64_t step, int64_t total) {
  const uint32_t fraction = static_cast<uint32_t>(step) * 2654435769u;
  return static_cast<int64_t>((static_cast<unsigned __int128>(total) * fraction) >> 32);
}

}  // namespace

std::string_view to_string(LedgerPart part) {
  switch (part) {
    case LedgerPart::kPrefill:
      return "prefill";
    case LedgerPart::kDecode:
      return "decode";
    case LedgerPart::kIdle:
      return "idle";
    case LedgerPart::kStartup:
      return "startup";
    case LedgerPart::kRecompute:
      return "recompute";
    case LedgerPart::kResume:
      return "resume";
  }
  CHECK(false) << "no such ledger part";
  return "";
}

Ledger::Ledger(int64_t start_ns, int n_devices, int64_t nano_usd_per_device_hour)
    : start_ns_(start_ns),
      n_devices_(n_devices),
      nano_usd_per_device_hour_(nano_usd_per_device_hour),
      booked_until_ns_(start_ns) {
  CHECK_GT(n_devices_, 0);
  CHECK_GE(nano_usd_per_device_hour_, 0);
}

int64_t Ledger::device_ns() const { return (booked_until_ns_ - start_ns_) * n_devices_; }

int64_t Ledger::price_of(int64_t device_ns) const {
  return static_cast<int64_t>(static_cast<__int128>(device_ns) * nano_usd_per_device_hour_ /
                              kHourNs);
}

int64_t Ledger::total() const { return std::accumulate(parts_.begin(), parts_.end(), int64_t{0}); }

int64_t Ledger::advance(int64_t now_ns) {
  if (now_ns <= booked_until_ns_) return 0;
  const int64_t before = price_of(device_ns());
  booked_until_ns_ = now_ns;
  return price_of(device_ns()) - before;
}

int64_t Ledger::book(int64_t now_ns, LedgerPart part) {
  const int64_t amount = advance(now_ns);
  parts_[static_cast<size_t>(part)] += amount;
  check_identity();
  return amount;
}

void Ledger::book_step(int64_t now_ns, std::span<const Work> work, std::span<int64_t> cost) {
  CHECK_EQ(work.size(), cost.size());
  int64_t total_units = 0;
  for (const Work& item : work) {
    CHECK_GT(item.units, 0);
    total_units += item.units;
  }
  CHECK_GT(total_units, 0) << "a step without work";
  const int64_t amount = advance(now_ns);
  const int64_t offset = moving_offset(++n_steps_, total_units);
  // 64-bit division is several times cheaper than 128-bit, and nearly always enough.
  const bool narrow = amount < (int64_t{1} << 30) && total_units < (int64_t{1} << 32);
  int64_t units_so_far = 0;
  int64_t paid_so_far = 0;
  for (size_t i = 0; i < work.size(); ++i) {
    units_so_far += work[i].units;
    const int64_t paid =
        narrow ? (amount * units_so_far + offset) / total_units
               : static_cast<int64_t>((static_cast<__int128>(amount) * units_so_far + offset) /
                                      total_units);
    cost[i] = paid - paid_so_far;
    parts_[static_cast<size_t>(work[i].part)] += cost[i];
    paid_so_far = paid;
  }
  CHECK_EQ(paid_so_far, amount);
  check_identity();
}

void Ledger::check_identity() const { CHECK_EQ(total(), price_of(device_ns())); }

int64_t nano_usd(double usd) {
  CHECK(std::isfinite(usd) && usd >= 0 && usd <= 1e6) << "a price of " << usd << " USD";
  return std::llround(usd * 1e9);
}

}  // namespace trireme::coordinator
