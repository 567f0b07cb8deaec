#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace trireme {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return invalid_argument("odd");
  return n / 2;
}

Result<int> quarter(int n) {
  ASSIGN_OR_RETURN(const int once, half(n));
  ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Status all_even(std::initializer_list<int> numbers) {
  for (const int n : numbers) TRY(half(n));
  return {};
}

TEST(Result, CarriesAValueOrAnError) {
  EXPECT_EQ(half(8).value(), 4);
  EXPECT_TRUE(half(8).ok());
  EXPECT_FALSE(half(7));
  EXPECT_EQ(half(7).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(half(7).error().to_string(), "invalid_argument: odd");
}

TEST(Result, MacrosHandErrorsOn) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_TRUE(all_even({2, 4}).ok());
  EXPECT_FALSE(all_even({2, 3}).ok());
}

TEST(Result, MovesWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  EXPECT_EQ(**result, 5);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 5);
}

TEST(ResultDeathTest, TheValueOfAnErrorEndsTheProcessWithItsMessage) {
  EXPECT_DEATH((void)half(7).value(), "odd");
  EXPECT_DEATH((void)half(8).error(), "CHECK failed");
}

TEST(Result, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  const int n = static_cast<int>(ErrorCode::kInternal) + 1;
  for (int i = 0; i < n; ++i) names.insert(to_string(static_cast<ErrorCode>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(n));
}

}  // namespace
}  // namespace trireme
