#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

class RopeTest : public EachIsa {};

struct RopeCase {
  int64_t head_dim;
  int64_t half;
};

TEST_P(RopeTest, RopeIsAccurateUpToPosition131072) {
  Random random(16);
  for (const RopeCase c : {RopeCase{12, 6}, {24, 12}, {64, 32}, {80, 20}, {128, 64}, {16, 0}}) {
    std::vector<float> frequencies;
    for (int64_t i = 0; i < c.half; ++i) {
      frequencies.push_back(
          std::pow(500000.0f, -static_cast<float>(i) / static_cast<float>(c.half)));
    }
    const HostTensor inv_freq = tensor_of(frequencies);
    const HostTensor positions = tensor_of<int32_t>({0, 1, 777, 65535, 131071});
    const HostTensor q = random.tensor(DType::kF32, {5, 3, c.head_dim});
    const HostTensor k = random.tensor(DType::kF32, {5, 2, c.head_dim});
    HostTensor actual_q = q.clone();
    HostTensor actual_k = k.clone();
    const RopeArgs args{actual_q.view(), actual_k.view(), positions.view(), inv_freq.view(), 1.25f};
    cpu_->rope(args, {});
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t h = 0; h < 3; ++h) {
        for (int64_t i = 0; i < c.head_dim; ++i) {
          const int64_t base = (t * 3 + h) * c.head_dim;
          double expected = q.at(base + i);
          if (i < 2 * c.half) {
            const int64_t pair = i % c.half;
            const double angle =
                static_cast<double>(frequencies[pair]) * positions.view().as<int32_t>()[t];
            const double a = q.at(base + pair);
            const double b = q.at(base + pair + c.half);
            expected = i < c.half ? a * std::cos(angle) - b * std::sin(angle)
                                  : b * std::cos(angle) + a * std::sin(angle);
            expected *= 1.25;
          }
          ASSERT_NEAR(actual_q.at(base + i), expected, 1e-6 * (1 + std::abs(expected)))
              << "position " << positions.view().as<int32_t>()[t] << " channel " << i;
        }
      }
    }
    HostTensor expected_q = q.clone();
    HostTensor expected_k = k.clone();
    reference_->rope(
        {expected_q.view(), expected_k.view(), positions.view(), inv_freq.view(), 1.25f}, {});
    expect_near(actual_q, expected_q, 1e-6f, "q");
    expect_near(actual_k, expected_k, 1e-6f, "k");
  }
}

// The table of angles is kept between calls: a change of any input must be seen.
TEST_P(RopeTest, RopeSeesChangedPositionsFrequenciesAndScale) {
  Random random(17);
  const HostTensor frequencies[] = {tensor_of<float>({1.0f, 0.5f}),
                                    tensor_of<float>({1.0f, 0.25f})};
  const HostTensor positions[] = {tensor_of<int32_t>({1, 2}), tensor_of<int32_t>({1, 3}),
                                  tensor_of<int32_t>({4})};
  for (const HostTensor& inv_freq : frequencies) {
    for (const HostTensor& position : positions) {
      for (const float scale : {1.0f, 2.0f}) {
        const int64_t n = position.view().dim(0);
        HostTensor q = random.tensor(DType::kF32, {n, 1, 4});
        HostTensor k = random.tensor(DType::kF32, {n, 1, 4});
        HostTensor expected_q = q.clone();
        HostTensor expected_k = k.clone();
        cpu_->rope({q.view(), k.view(), position.view(), inv_freq.view(), scale}, {});
        reference_->rope(
            {expected_q.view(), expected_k.view(), position.view(), inv_freq.view(), scale}, {});
        expect_near(q, expected_q, 1e-6f, "q");
      }
    }
  }
}

std::vector<float> frequencies_of(int64_t n_pairs, float base) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < n_pairs; ++i) {
    frequencies.push_back(std::pow(base, -static_cast<float>(i) / static_cast<float>(n_pairs)));
  }
  return frequencies;
}

// Interleaved pairs are half-split pairs in another order of channels.
TEST_P(RopeTest, InterleavedIsHalfSplitInAnotherOrder) {
  Random random(18);
  for (const RopeCase c : {RopeCase{12, 6}, {24, 9}, {64, 32}, {80, 20}, {128, 64}, {16, 0}}) {
    const HostTensor inv_freq = tensor_of(frequencies_of(c.half, 10000));
    const HostTensor positions = tensor_of<int32_t>({0, 3, 70000});
    const HostTensor q = random.tensor(DType::kF32, {3, 2, c.head_dim});
    HostTensor interleaved = q.clone();
    HostTensor half_split = q.clone();
    const auto split_channel = [&](int64_t i) {
      if (i >= 2 * c.half) return i;
      return i % 2 == 0 ? i / 2 : i / 2 + c.half;
    };
    for (int64_t i = 0; i < q.view().numel(); ++i) {
      const int64_t head = i / c.head_dim * c.head_dim;
      half_split.set(head + split_channel(i % c.head_dim), q.at(i));
    }
    HostTensor expected = q.clone();
    RopeArgs args{.q = interleaved.view(),
                  .positions = positions.view(),
                  .inv_freq = inv_freq.view(),
                  .scale = 1.5f,
                  .layout = RopeLayout::kInterleaved};
    cpu_->rope(args, {});
    args.q = expected.view();
    reference_->rope(args, {});
    expect_near(interleaved, expected, 1e-6f, "interleaved");
    args.q = half_split.view();
    args.layout = RopeLayout::kHalfSplit;
    cpu_->rope(args, {});
    for (int64_t i = 0; i < q.view().numel(); ++i) {
      const int64_t head = i / c.head_dim * c.head_dim;
      ASSERT_EQ(interleaved.at(i), half_split.at(head + split_channel(i % c.head_dim)))
          << "element " << i;
    }
  }
}

TEST_P(RopeTest, EachTokenChoosesItsSetOfFrequencies) {
  Random random(19);
  std::vector<float> both = frequencies_of(8, 10000);
  const std::vector<float> second = frequencies_of(8, 500000);
  both.insert(both.end(), second.begin(), second.end());
  const HostTensor flat = tensor_of(both);
  const TensorView sets(flat.view().data, DType::kF32, {2, 8});
  const HostTensor positions = tensor_of<int32_t>({5, 900, 901, 77});
  // The choice changes between calls; the table of angles must follow.
  for (const std::vector<int32_t>& choice :
       {std::vector<int32_t>{0, 1, 1, 0}, std::vector<int32_t>{1, 1, 0, 0}}) {
    const HostTensor set_of_token = tensor_of(choice);
    for (const RopeLayout layout : {RopeLayout::kHalfSplit, RopeLayout::kInterleaved}) {
      HostTensor k = random.tensor(DType::kF32, {4, 2, 20});
      HostTensor expected = k.clone();
      HostTensor one_by_one = k.clone();
      RopeArgs args{.k = k.view(),
                    .positions = positions.view(),
                    .inv_freq = sets,
                    .layout = layout,
                    .set_of_token = set_of_token.view()};
      cpu_->rope(args, {});
      args.k = expected.view();
      reference_->rope(args, {});
      expect_near(k, expected, 1e-6f, "k");
      for (int64_t t = 0; t < 4; ++t) {
        cpu_->rope({.k = one_by_one.view().rows(t, t + 1),
                    .positions = positions.view().rows(t, t + 1),
                    .inv_freq = sets.rows(choice[static_cast<size_t>(t)],
                                          choice[static_cast<size_t>(t)] + 1),
                    .layout = layout},
                   {});
      }
      expect_same_bits(k.view(), one_by_one.view(), "token by token");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, RopeTest, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

TEST(RopeDeathTest, ASetThatIsNotThereStopsTheProcess) {
  const auto cpu = cpu_backend("portable", ComputeDType::kF32);
  Random random(20);
  const HostTensor q = random.tensor(DType::kF32, {1, 1, 8});
  const HostTensor positions = tensor_of<int32_t>({1});
  const HostTensor inv_freq = random.tensor(DType::kF32, {2, 4});
  const HostTensor set_of_token = tensor_of<int32_t>({2});
  EXPECT_DEATH(cpu->rope({.q = q.view(),
                          .positions = positions.view(),
                          .inv_freq = inv_freq.view(),
                          .set_of_token = set_of_token.view()},
                         {}),
               "2 vs 2");
}

}  // namespace
}  // namespace trireme::kernels::testing
