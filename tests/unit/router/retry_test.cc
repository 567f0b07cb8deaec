#include "router/upstream/retry.h"

#include <gtest/gtest.h>

namespace trireme::router {
namespace {

TEST(Backoff, DoublesWithJitterUpToTheCap) {
  Random random(3);
  int64_t base = 50 * kMillisecondNs;
  for (int tries = 1; tries < 12; ++tries) {
    const auto wait = static_cast<double>(backoff_ns(tries, random));
    const auto expected = static_cast<double>(std::min<int64_t>(base, 5 * kSecondNs));
    EXPECT_GE(wait, 0.9 * expected - 1);
    EXPECT_LE(wait, 1.1 * expected + 1);
    base *= 2;
  }
}

TEST(RetryBudget, IsAShareOfRequestsPlusARate) {
  RetryBudget budget;
  int64_t now = kSecondNs;
  int taken = 0;
  while (budget.take(now)) ++taken;
  EXPECT_EQ(taken, 10);
  for (int i = 0; i < 50; ++i) budget.on_request(now);
  taken = 0;
  while (budget.take(now)) ++taken;
  EXPECT_NEAR(taken, 10, 1) << "20 % of 50";
  now += kSecondNs;
  taken = 0;
  while (budget.take(now)) ++taken;
  EXPECT_NEAR(taken, 10, 1) << "10 per second";
}

TEST(Breaker, OpensProbesAndCloses) {
  Breaker breaker;
  int64_t now = kSecondNs;
  for (int i = 0; i < 4; ++i) breaker.on_failure(now);
  EXPECT_TRUE(breaker.allows(now));
  breaker.on_success();
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(breaker.allows(now)) << "failures count in a row";
    breaker.on_failure(now);
  }
  EXPECT_FALSE(breaker.allows(now));
  EXPECT_FALSE(breaker.allows(now + 29 * kSecondNs));
  now += 30 * kSecondNs;
  EXPECT_TRUE(breaker.allows(now));
  breaker.on_probe(now);
  EXPECT_FALSE(breaker.allows(now)) << "one probe at a time";
  breaker.on_success();
  EXPECT_TRUE(breaker.open());
  breaker.on_success();
  EXPECT_FALSE(breaker.open());
  EXPECT_TRUE(breaker.allows(now));
}

}  // namespace
}  // namespace trireme::router
