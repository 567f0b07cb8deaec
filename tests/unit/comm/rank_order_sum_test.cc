#include "parallel/comm/rank_order_sum.h"

#include <gtest/gtest.h>

#include <vector>

namespace trireme::comm {
namespace {

const std::byte* bytes(const void* p) { return static_cast<const std::byte*>(p); }

TEST(RankOrderSum, AddsInRankOrderAndNotInAnother) {
  // (2^24 + 1) + 1 loses both ones in f32; 1 + 1 + 2^24 keeps them.
  const float big = 16777216.0f;
  const float one = 1.0f;
  float out = 0;
  sum_in_rank_order(DType::kF32, {bytes(&big), bytes(&one), bytes(&one)},
                    reinterpret_cast<std::byte*>(&out), 1);
  EXPECT_EQ(out, big);
  sum_in_rank_order(DType::kF32, {bytes(&one), bytes(&one), bytes(&big)},
                    reinterpret_cast<std::byte*>(&out), 1);
  EXPECT_EQ(out, big + 2);
}

TEST(RankOrderSum, RoundsBf16OnceAtTheEnd) {
  // 1 + 2^-9 + 2^-9 + 2^-9: rounded after each term it would stay 1; summed in f32 it rounds up to
  // 1 + 2^-7.
  const bf16 one = to_bf16(1.0f);
  const bf16 small = to_bf16(1.0f / 512);
  bf16 out;
  sum_in_rank_order(DType::kBF16, {bytes(&one), bytes(&small), bytes(&small), bytes(&small)},
                    reinterpret_cast<std::byte*>(&out), 1);
  EXPECT_EQ(to_f32(out), 1.0f + 1.0f / 128);
}

TEST(RankOrderSum, AnElementsSumDoesNotDependOnItsPlaceOrTheLength) {
  std::vector<float> a(3000), b(3000), whole(3000);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = 0.1f * static_cast<float>(i);
    b[i] = 1e-3f / static_cast<float>(i + 1);
  }
  sum_in_rank_order(DType::kF32, {bytes(a.data()), bytes(b.data())},
                    reinterpret_cast<std::byte*>(whole.data()), 3000);
  for (const size_t i : {size_t{0}, size_t{1023}, size_t{1024}, size_t{2999}}) {
    float alone = 0;
    sum_in_rank_order(DType::kF32, {bytes(&a[i]), bytes(&b[i])},
                      reinterpret_cast<std::byte*>(&alone), 1);
    EXPECT_EQ(alone, whole[i]) << i;
  }
}

TEST(RankOrderSumDeathTest, IntegersAreNotSummed) {
  int32_t x = 1;
  EXPECT_DEATH(sum_in_rank_order(DType::kI32, {bytes(&x)}, reinterpret_cast<std::byte*>(&x), 1),
               "cannot sum i32");
}

}  // namespace
}  // namespace trireme::comm
