// What is sampled from logits, and the ops that are others in turn, on hosts.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/counter_random.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

class SamplingOpsTest : public EachIsa {};

constexpr float kMasked = -std::numeric_limits<float>::infinity();

TEST_P(SamplingOpsTest, CandidatesRankByValueThenById) {
  const HostTensor row =
      tensor_of<float>({1, 3, kMasked, 3, std::numeric_limits<float>::quiet_NaN(), -0.0f, 0.0f});
  const TensorView x(row.view().data, DType::kF32, {1, 7});
  const HostTensor rows = tensor_of<int32_t>({0});
  HostTensor ids(DType::kI32, {1, 6});
  HostTensor scores(DType::kF32, {1, 6});
  HostTensor values(DType::kF32, {1, 6});
  cpu_->row_candidates({.x = x,
                        .rows = rows.view(),
                        .first_id = 10,
                        .ids = ids.view(),
                        .scores = scores.view(),
                        .values = values.view()},
                       {});
  const int32_t expected[] = {11, 13, 10, 15, 16, -1};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(ids.view().as<int32_t>()[i], expected[i]) << i;
  EXPECT_EQ(values.at(5), kMasked);
}

TEST_P(SamplingOpsTest, ADrawIsTheArgmaxOfNoisyScores) {
  Random random(5);
  const HostTensor x = random.tensor(DType::kF32, {2, 300}, 2);
  const HostTensor rows = tensor_of<int32_t>({1});
  const HostTensor inverse = tensor_of<float>({0.5f});
  const HostTensor keys = tensor_of<int64_t>({-42});
  HostTensor ids(DType::kI32, {1, 2});
  HostTensor scores(DType::kF32, {1, 2});
  HostTensor values(DType::kF32, {1, 2});
  cpu_->row_candidates({.x = x.view(),
                        .rows = rows.view(),
                        .inverse_temperature = inverse.view(),
                        .keys = keys.view(),
                        .first_id = 7,
                        .ids = ids.view(),
                        .scores = scores.view(),
                        .values = values.view()},
                       {});
  double best = -1e30;
  int32_t winner = -1;
  for (int32_t i = 0; i < 300; ++i) {
    const uint64_t hash = counter_hash(static_cast<uint64_t>(-42), static_cast<uint64_t>(7 + i));
    const double score = 0.5 * x.at(300 + i) + gumbel_noise(uniform_open(hash));
    if (score > best) {
      best = score;
      winner = 7 + i;
    }
  }
  EXPECT_EQ(*ids.view().as<int32_t>(), winner);
  EXPECT_FLOAT_EQ(scores.at(0), static_cast<float>(best));
}

TEST_P(SamplingOpsTest, CountBeforeBreaksTiesByTheLowerId) {
  const HostTensor row = tensor_of<float>({2, 5, 2, kMasked, 2});
  const TensorView x(row.view().data, DType::kF32, {1, 5});
  const HostTensor rows = tensor_of<int32_t>({0, 0, 0});
  // Of this slice, and of another rank's, below and above.
  const HostTensor ids = tensor_of<int32_t>({22, 3, 99});
  const HostTensor values = tensor_of<float>({2, 2, 2});
  HostTensor counts(DType::kI32, {3});
  cpu_->count_before({.x = x,
                      .rows = rows.view(),
                      .ids = ids.view(),
                      .values = values.view(),
                      .first_id = 20,
                      .counts = counts.view()},
                     {});
  EXPECT_EQ(counts.view().as<int32_t>()[0], 2);
  EXPECT_EQ(counts.view().as<int32_t>()[1], 1);
  EXPECT_EQ(counts.view().as<int32_t>()[2], 4);
}

TEST_P(SamplingOpsTest, HeadLinearIsALinearForEachHead) {
  Random random(6);
  const HostTensor x = random.tensor(DType::kF32, {3, 2 * 24});
  std::vector<std::unique_ptr<PackedWeight>> weights;
  weights.reserve(2);
  for (int h = 0; h < 2; ++h) {
    weights.push_back(pack(cpu_.get(), random.tensor(DType::kF32, {5, 24}, 0.2f).view()));
  }
  const std::vector<const PackedWeight*> all = {weights[0].get(), weights[1].get()};
  HostTensor together = random.tensor(DType::kF32, {3, 2 * 7});
  HostTensor apart = together.clone();
  cpu_->head_linear({.x = x.view(),
                     .x_head_stride = 24,
                     .weights = all,
                     .out = together.view(),
                     .out_head_stride = 7},
                    {});
  for (int64_t h = 0; h < 2; ++h) {
    cpu_->linear({.x = x.view().columns(h * 24, h * 24 + 24),
                  .weight = all[static_cast<size_t>(h)],
                  .out = apart.view().columns(h * 7, h * 7 + 5)},
                 {});
  }
  expect_same_bits(together.view(), apart.view(), "heads");
}

TEST_P(SamplingOpsTest, AHostRecordsNothing) {
  EXPECT_EQ(cpu_->begin_recording({}).error().code, ErrorCode::kUnimplemented);
}

INSTANTIATE_TEST_SUITE_P(EachIsa, SamplingOpsTest, ::testing::ValuesIn(isas_of_this_machine()),
                         isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
