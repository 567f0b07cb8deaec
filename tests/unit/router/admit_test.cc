// Keys and rate limits.
#include <gtest/gtest.h>

#include <array>

#include "router/admit/keys.h"
#include "router/admit/rate_limit.h"

namespace trireme::router {
namespace {

constexpr char kAbcHash[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Keys, Sha256OfTheStandardsExample) {
  const Sha256 hash = sha256("abc");
  EXPECT_EQ(hash[0], 0xba);
  EXPECT_EQ(hash[31], 0xad);
  // RFC 4231, test case 2.
  EXPECT_EQ(hmac_sha256_hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Keys, FindsByHashAndRefusesBadTables) {
  auto table = KeyTable::make({{.name = "a", .sha256 = kAbcHash, .admin = true}});
  ASSERT_TRUE(table.ok());
  ASSERT_NE(table->find("abc"), nullptr);
  EXPECT_EQ(table->find("abc")->name, "a");
  EXPECT_EQ(table->find("abd"), nullptr);
  EXPECT_EQ(table->find(""), nullptr);
  EXPECT_FALSE(KeyTable::make({{.name = "a", .sha256 = "ba78"}}).ok());
  EXPECT_FALSE(KeyTable::make({{.name = "a", .sha256 = std::string(64, 'g')}}).ok());
  EXPECT_FALSE(
      KeyTable::make({{.name = "a", .sha256 = kAbcHash}, {.name = "b", .sha256 = kAbcHash}}).ok());
}

TEST(Keys, BearerToken) {
  EXPECT_EQ(bearer_token("Bearer abc"), "abc");
  EXPECT_EQ(bearer_token("bearer   abc "), "abc");
  EXPECT_EQ(bearer_token("Basic abc"), "");
  EXPECT_EQ(bearer_token("Bearer"), "");
  EXPECT_EQ(bearer_token(""), "");
}

TEST(RateLimit, RequestsPerMinuteRefillEvenly) {
  RateLimiter limiter;
  const KeyConfig key{.name = "t", .rpm = 6};
  int64_t now = kSecondNs;
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(limiter.admit(key, "m", 1000, now)) << i;
  const auto refusal = limiter.admit(key, "m", 1000, now);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->type, "requests");
  EXPECT_EQ(refusal->retry_after_ns, 10 * kSecondNs);
  now += 10 * kSecondNs;
  EXPECT_FALSE(limiter.admit(key, "m", 1000, now));
  EXPECT_TRUE(limiter.admit(key, "m", 1000, now));
  EXPECT_FALSE(limiter.admit(key, "another", 1000, now)) << "each model has its own";
}

TEST(RateLimit, TokensAreChargedAndSettled) {
  RateLimiter limiter;
  const KeyConfig key{.name = "t", .tpm = 1000, .tpd = 5000};
  const int64_t now = kSecondNs;
  EXPECT_FALSE(limiter.admit(key, "m", 900, now));
  RateHeaders headers = limiter.headers(key, "m", now);
  EXPECT_TRUE(headers.has_tokens);
  EXPECT_FALSE(headers.has_requests);
  EXPECT_EQ(headers.limit_tokens, 1000);
  EXPECT_EQ(headers.remaining_tokens, 100);
  EXPECT_TRUE(limiter.admit(key, "m", 200, now));
  EXPECT_EQ(limiter.headers(key, "m", now).remaining_tokens, 100) << "a refusal takes nothing";
  limiter.settle(key, "m", 900, 50, now);
  EXPECT_EQ(limiter.headers(key, "m", now).remaining_tokens, 950);
  EXPECT_FALSE(limiter.admit(key, "m", 900, now));
  // More than was charged (it cannot happen, and must not pass unseen if it does).
  limiter.settle(key, "m", 900, 1000, now);
  EXPECT_EQ(limiter.headers(key, "m", now).remaining_tokens, 0);
}

TEST(RateLimit, OneRequestBeyondTheLimitNeverFits) {
  RateLimiter limiter;
  const KeyConfig key{.name = "t", .tpm = 100};
  const auto refusal = limiter.admit(key, "m", 101, kSecondNs);
  ASSERT_TRUE(refusal);
  EXPECT_TRUE(refusal->never);
  EXPECT_NE(refusal->message.find("101"), std::string::npos);
}

TEST(RateLimit, DayLimitIsShownWhereItIsNearer) {
  RateLimiter limiter;
  const KeyConfig key{.name = "t", .rpm = 100, .rpd = 3};
  EXPECT_FALSE(limiter.admit(key, "m", 1, kSecondNs));
  const RateHeaders headers = limiter.headers(key, "m", kSecondNs);
  EXPECT_EQ(headers.limit_requests, 3);
  EXPECT_EQ(headers.remaining_requests, 2);
}

TEST(RateLimit, RoutersSideBySideGrantTheLimitTogether) {
  const KeyConfig key{.name = "t", .rpm = 6, .tpm = 1000};
  std::array<RateLimiter, 3> routers = {RateLimiter(3), RateLimiter(3), RateLimiter(3)};
  int64_t now = kSecondNs;
  int n_admitted = 0;
  for (int minute = 0; minute < 10; ++minute) {
    for (int second = 0; second < 60; ++second, now += kSecondNs) {
      for (RateLimiter& router : routers) n_admitted += router.admit(key, "m", 1, now) ? 0 : 1;
    }
  }
  // Full buckets to begin with, then the refill of ten minutes.
  EXPECT_GE(n_admitted, 6 + 6 * 10 - 3);
  EXPECT_LE(n_admitted, 6 + 6 * 10);
  const RateHeaders headers = routers[0].headers(key, "m", now);
  EXPECT_EQ(headers.limit_requests, 6);
  EXPECT_LE(headers.remaining_requests, 2);
}

TEST(RateLimit, ARequestLargerThanTheShareIsOwed) {
  RateLimiter limiter(4);
  const KeyConfig key{.name = "t", .tpm = 1000};
  int64_t now = kSecondNs;
  EXPECT_FALSE(limiter.admit(key, "m", 900, now)) << "the limit allows it, the share is 250";
  EXPECT_EQ(limiter.headers(key, "m", now).remaining_tokens, 0);
  // 650 are owed; 250 a minute come in.
  now += 150 * kSecondNs;
  EXPECT_TRUE(limiter.admit(key, "m", 1, now));
  now += 10 * kSecondNs;
  EXPECT_FALSE(limiter.admit(key, "m", 1, now));
  const auto never = limiter.admit(key, "m", 1001, now);
  ASSERT_TRUE(never);
  EXPECT_TRUE(never->never);
}

TEST(RateLimit, ALimitBelowTheNumberOfRoutersStillLetsOneIn) {
  RateLimiter limiter(4);
  const KeyConfig key{.name = "t", .rpm = 1};
  EXPECT_FALSE(limiter.admit(key, "m", 1, kSecondNs));
  const auto refusal = limiter.admit(key, "m", 1, kSecondNs);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->retry_after_ns, 240 * kSecondNs);
}

TEST(RateLimit, ResetFormat) {
  EXPECT_EQ(format_reset(12 * kMillisecondNs), "12ms");
  EXPECT_EQ(format_reset(0), "0ms");
  EXPECT_EQ(format_reset(kSecondNs), "1s");
  EXPECT_EQ(format_reset(360 * kSecondNs), "6m0s");
  EXPECT_EQ(format_reset(3661 * kSecondNs), "1h1m1s");
}

}  // namespace
}  // namespace trireme::router
