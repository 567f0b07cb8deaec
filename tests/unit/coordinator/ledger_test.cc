#include "coordinator/ledger/ledger.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace trireme::coordinator {
namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;

TEST(Ledger, AnHourOfADeviceCostsItsPrice) {
  Ledger ledger(1000, 4, nano_usd(0.05));
  EXPECT_EQ(ledger.book(1000 + kHourNs, LedgerPart::kIdle), 4 * 50'000'000);
  EXPECT_EQ(ledger.device_ns(), 4 * kHourNs);
  EXPECT_EQ(ledger.total(), 200'000'000);
}

TEST(Ledger, NothingIsLostBetweenManySmallBookings) {
  Ledger ledger(0, 1,
                nano_usd(0.05));  // 13.9 nano-dollars per millisecond: each piece is a fraction
  for (int64_t t = 0; t <= kHourNs; t += 999'983'777) ledger.book(t, LedgerPart::kIdle);
  ledger.book(kHourNs, LedgerPart::kStartup);
  EXPECT_EQ(ledger.total(), 50'000'000);
}

TEST(Ledger, TimeThatWentBackBooksNothing) {
  Ledger ledger(0, 1, nano_usd(3600));
  EXPECT_EQ(ledger.book(1'000'000'000, LedgerPart::kIdle), 1'000'000'000);
  EXPECT_EQ(ledger.book(500'000'000, LedgerPart::kIdle), 0);
  EXPECT_EQ(ledger.book(1'000'000'001, LedgerPart::kIdle), 1);
}

TEST(Ledger, AStepIsSplitByWork) {
  Ledger ledger(0, 1, nano_usd(3600));  // a nano-dollar per nanosecond
  const std::vector<Work> work = {
      {LedgerPart::kPrefill, 3000}, {LedgerPart::kDecode, 1000}, {LedgerPart::kRecompute, 1000}};
  std::vector<int64_t> cost(3);
  ledger.book_step(5000, work, cost);
  EXPECT_EQ(cost, (std::vector<int64_t>{3000, 1000, 1000}));
  EXPECT_EQ(ledger.part(LedgerPart::kPrefill), 3000);
  EXPECT_EQ(ledger.part(LedgerPart::kRecompute), 1000);
}

// Equal sequences that share fractions of a nano-dollar pay alike in the long run, wherever they
// stand in the step.
TEST(Ledger, OddNanoDollarsGoRound) {
  Ledger ledger(0, 1, nano_usd(3600));
  const std::vector<Work> work(7, {LedgerPart::kDecode, 4001});
  std::vector<int64_t> cost(7);
  std::vector<int64_t> paid(7);
  for (int64_t step = 1; step <= 7000; ++step) {
    ledger.book_step(step * 3, work, cost);
    for (size_t i = 0; i < 7; ++i) paid[i] += cost[i];
  }
  for (const int64_t p : paid) EXPECT_NEAR(static_cast<double>(p), 3000, 8);
}

// The property: over any window, parts add up to device time x price, and requests' shares to their
// parts.
TEST(Ledger, TheIdentityHoldsOverAnyWindow) {
  std::mt19937_64 rng(11);
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>(rng() % static_cast<uint64_t>(n));
  };
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t price = below(3) == 0 ? below(100) : below(40'000'000'000);
    const int n_devices = static_cast<int>(1 + below(16));
    Ledger ledger(below(1'000'000), n_devices, price);
    const int64_t start = ledger.booked_until_ns();
    int64_t now = start;
    int64_t requests = 0;
    int64_t mark = now;
    int64_t mark_total = 0;
    for (int i = 0; i < 200; ++i) {
      now += below(4) == 0 ? below(5) : below(100'000'000'000);
      if (below(3) == 0) {
        ledger.book(now, below(2) == 0 ? LedgerPart::kIdle : LedgerPart::kStartup);
      } else {
        std::vector<Work> work;
        for (int64_t n = 1 + below(20); n > 0; --n) {
          work.push_back({static_cast<LedgerPart>(below(2) == 0 ? below(2) : 4 + below(2)),
                          1 + below(below(2) == 0 ? 10 : 4'000'000'000)});
        }
        std::vector<int64_t> cost(work.size());
        ledger.book_step(now, work, cost);
        for (size_t k = 0; k < work.size(); ++k) {
          ASSERT_GE(cost[k], 0);
          if (work[k].part == LedgerPart::kPrefill || work[k].part == LedgerPart::kDecode) {
            requests += cost[k];
          }
        }
      }
      const auto worth = [&](int64_t until) {
        return static_cast<int64_t>(static_cast<__int128>(until - start) * n_devices * price /
                                    kHourNs);
      };
      ASSERT_EQ(ledger.total(), worth(now));
      ASSERT_EQ(requests, ledger.part(LedgerPart::kPrefill) + ledger.part(LedgerPart::kDecode));
      if (below(10) == 0) {  // a window between two marks
        ASSERT_EQ(ledger.total() - mark_total, worth(now) - worth(mark));
        mark = now;
        mark_total = ledger.total();
      }
    }
  }
}

TEST(LedgerDeathTest, AStepWithoutWorkIsAnError) {
  Ledger ledger(0, 1, 1);
  EXPECT_DEATH(ledger.book_step(1, {}, {}), "a step without work");
}

}  // namespace
}  // namespace trireme::coordinator
