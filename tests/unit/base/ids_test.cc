#include "base/ids.h"

#include <gtest/gtest.h>

#include <sstream>
#include <type_traits>
#include <unordered_set>

namespace trireme {
namespace {

TEST(Ids, KindsDoNotMix) {
  static_assert(!std::is_convertible_v<SequenceId, BlockId>);
  static_assert(!std::is_convertible_v<int, BlockId>);
  static_assert(!std::is_convertible_v<BlockId, int>);
  static_assert(!std::is_constructible_v<StepId, SequenceId>);
  static_assert(sizeof(BlockId) == sizeof(int32_t));
}

TEST(Ids, CompareHashAndPrintLikeTheirValue) {
  EXPECT_EQ(BlockId(3), BlockId(3));
  EXPECT_NE(BlockId(3), BlockId(4));
  EXPECT_LT(StepId(3), StepId(4));
  EXPECT_EQ(StepId().value(), 0u);
  std::unordered_set<SequenceId> ids = {SequenceId(1), SequenceId(2), SequenceId(1)};
  EXPECT_EQ(ids.size(), 2u);
  std::ostringstream out;
  out << SequenceId(18446744073709551615u) << " " << BlockId(-1);
  EXPECT_EQ(out.str(), "18446744073709551615 -1");
}

}  // namespace
}  // namespace trireme
