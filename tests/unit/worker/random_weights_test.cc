// Weights that are made up: the same for any cut, near normal, different by name and seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {
namespace {

TEST(RandomWeights, AnySliceIsASliceOfTheWhole) {
  auto source = make_random_weights(42);
  const plan::TensorSlice whole{"model.layers.0.mlp.up_proj.weight", {33, 17}, {0, 33}, {0, 17}};
  std::vector<bf16> all(33 * 17);
  ASSERT_TRUE(source->read(whole, all.data()).ok());
  plan::TensorSlice part = whole;
  part.rows = {5, 12};
  part.columns = {3, 10};
  std::vector<bf16> some(7 * 7);
  ASSERT_TRUE(source->read(part, some.data()).ok());
  for (size_t r = 0; r < 7; ++r) {
    for (size_t c = 0; c < 7; ++c) {
      EXPECT_EQ(some[r * 7 + c].bits, all[(r + 5) * 17 + c + 3].bits);
    }
  }
}

TEST(RandomWeights, AStackOfExpertsIsOneMatrixUnderTheOther) {
  auto source = make_random_weights(42);
  const plan::TensorSlice stack{"experts.gate_up_proj", {3, 5, 4}, {0, 15}, {0, 4}};
  std::vector<bf16> all(60);
  ASSERT_TRUE(source->read(stack, all.data()).ok());
  plan::TensorSlice second = stack;
  second.rows = {5, 10};
  second.columns = {1, 3};
  std::vector<bf16> some(10);
  ASSERT_TRUE(source->read(second, some.data()).ok());
  for (size_t r = 0; r < 5; ++r) {
    for (size_t c = 0; c < 2; ++c) {
      EXPECT_EQ(some[r * 2 + c].bits, all[(r + 5) * 4 + c + 1].bits);
    }
  }
  // Rows do not overlap.
  for (size_t r = 1; r < 15; ++r) {
    const bf16* row = all.data() + r * 4;
    const bool overlaps =
        std::equal(row, row + 3, row - 3, [](bf16 x, bf16 y) { return x.bits == y.bits; });
    EXPECT_FALSE(overlaps) << r;
  }
}

TEST(RandomWeights, AreNearNormalAndDifferByNameAndSeed) {
  const auto fill = [](uint64_t seed, const std::string& name) {
    std::vector<bf16> bits(100'000);
    const auto n = static_cast<int64_t>(bits.size());
    CHECK(make_random_weights(seed)->read({name, {n}, {0, n}, {0, 1}}, bits.data()).ok());
    std::vector<double> values;
    for (const bf16 value : bits) values.push_back(to_f32(value));
    return values;
  };
  const auto moments = [](const std::vector<double>& x) {
    double mean = 0;
    double square = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) square += (v - mean) * (v - mean) / static_cast<double>(x.size());
    return std::pair(mean, std::sqrt(square));
  };
  const auto a = fill(1, "w");
  EXPECT_NEAR(moments(a).first, 0, 3e-4);
  EXPECT_NEAR(moments(a).second, 0.02, 2e-4);
  EXPECT_NEAR(moments(fill(1, "model.norm.weight")).first, 1, 1e-3);
  EXPECT_NE(a, fill(2, "w"));
  EXPECT_NE(a, fill(1, "v"));
  EXPECT_EQ(a, fill(1, "w"));
}

}  // namespace
}  // namespace trireme::worker
