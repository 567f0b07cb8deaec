#include "base/check.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

using CheckDeathTest = ::testing::Test;

TEST(CheckDeathTest, PrintsTheConditionAndWhatWasStreamed) {
  const int n_blocks = 3;
  CHECK(n_blocks == 3) << "not evaluated";
  EXPECT_DEATH(CHECK(n_blocks > 5) << "blocks left: " << n_blocks,
               "check_test.cc:.*n_blocks > 5.*blocks left: 3");
}

TEST(CheckDeathTest, PrintsBothOperands) {
  const int used = 7;
  const int total = 5;
  CHECK_EQ(used, 7);
  CHECK_NE(used, total);
  CHECK_LT(total, used);
  CHECK_LE(total, 5);
  CHECK_GT(used, total);
  CHECK_GE(used, 7);
  EXPECT_DEATH(CHECK_LE(used, total) << "pool", "used <= total.*7 vs 5.*pool");
  EXPECT_DEATH(CHECK_EQ(used + 1, total), "8 vs 5");
}

TEST(CheckDeathTest, IsOneStatementAndEvaluatesItsOperandsOnce) {
  int n_calls = 0;
  const auto next = [&] { return ++n_calls; };
  if (n_calls == 0)
    CHECK(next() == 1);
  else
    FAIL() << "the else belongs to the if";
  CHECK_EQ(next(), 2);
  EXPECT_EQ(n_calls, 2);
}

}  // namespace
}  // namespace trireme
