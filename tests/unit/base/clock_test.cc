#include "base/clock.h"

#include <gtest/gtest.h>

#include <ctime>
#include <thread>

namespace trireme {
namespace {

TEST(Clock, TheSystemsGoesOnAndKnowsTheYear) {
  const SystemClock clock;
  const int64_t before = clock.now_ns();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_GE(clock.now_ns() - before, 2'000'000);
  EXPECT_NEAR(static_cast<double>(clock.unix_ns()) / 1e9, static_cast<double>(std::time(nullptr)),
              2);
}

TEST(Clock, TheManualOneMovesOnlyByHand) {
  ManualClock clock;
  const int64_t now = clock.now_ns();
  const int64_t unix_now = clock.unix_ns();
  EXPECT_EQ(clock.now_ns(), now);
  clock.advance_ns(250);
  EXPECT_EQ(clock.now_ns(), now + 250);
  EXPECT_EQ(clock.unix_ns(), unix_now + 250);
}

}  // namespace
}  // namespace trireme
