#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/kernels/agreement.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int64_t kWidths[] = {1, 3, 17, 33, 64, 65, 200};
constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};

class RowOpsTest : public EachIsa {};

TEST_P(RowOpsTest, Embedding) {
  Random random(11);
  for (const DType dtype : kFloats) {
    for (const int64_t width : kWidths) {
      const HostTensor table = random.tensor(dtype, {10, width});
      // Rows 5..14 of the vocabulary; others are another rank's, and absurd ids must read nothing.
      const HostTensor ids =
          tensor_of<int32_t>({5, 14, 4, 15, 0, -1, 7, 7, std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max()});
      HostTensor actual(DType::kF32, {10, width});
      HostTensor expected(DType::kF32, {10, width});
      cpu_->embedding({ids.view(), table.view(), 5, actual.view()}, {});
      reference_->embedding({ids.view(), table.view(), 5, expected.view()}, {});
      expect_same_bits(actual.view(), expected.view(), "embedding");
      EXPECT_EQ(expected.at(0), table.at(0));
      EXPECT_EQ(expected.at(2 * width), 0.0f);
      EXPECT_EQ(expected.at(6 * width), table.at(2 * width));
    }
  }
}

TEST_P(RowOpsTest, Add) {
  Random random(14);
  for (const int64_t width : kWidths) {
    const HostTensor x = random.tensor(DType::kF32, {5, width});
    HostTensor actual = random.tensor(DType::kF32, {5, width});
    HostTensor expected = actual.clone();
    cpu_->add({x.view(), actual.view()}, {});
    reference_->add({x.view(), expected.view()}, {});
    expect_same_bits(actual.view(), expected.view(), "add");
    cpu_->add({.x = x.view(), .y = actual.view(), .scale = 0.22f}, {});
    reference_->add({.x = x.view(), .y = expected.view(), .scale = 0.22f}, {});
    expect_near(actual, expected, 1e-6f, "add scaled");
  }
}

TEST_P(RowOpsTest, Scale) {
  Random random(15);
  for (const int64_t width : kWidths) {
    HostTensor wide = random.tensor(DType::kF32, {3, width + 5});
    const HostTensor before = wide.clone();
    cpu_->scale({wide.view().columns(2, 2 + width), 12.5f}, {});
    for (int64_t i = 0; i < wide.view().numel(); ++i) {
      const int64_t column = i % (width + 5);
      const bool inside = column >= 2 && column < 2 + width;
      ASSERT_EQ(wide.at(i), inside ? before.at(i) * 12.5f : before.at(i)) << "element " << i;
    }
    HostTensor expected = before.clone();
    reference_->scale({expected.view().columns(2, 2 + width), 12.5f}, {});
    expect_same_bits(wide.view(), expected.view(), "scale");
  }
}

TEST_P(RowOpsTest, SigmoidScaleRows) {
  Random random(16);
  for (const int64_t width : kWidths) {
    const HostTensor gates = random.tensor(DType::kF32, {4, 3}, 6);
    const TensorView gate = gates.view().columns(1, 2);
    HostTensor actual = random.tensor(DType::kF32, {4, width});
    HostTensor expected = actual.clone();
    const HostTensor before = actual.clone();
    cpu_->sigmoid_scale_rows({actual.view(), gate}, {});
    reference_->sigmoid_scale_rows({expected.view(), gate}, {});
    expect_near(actual, expected, 1e-6f, "sigmoid_scale_rows");
    EXPECT_NEAR(expected.at(3 * width), before.at(3 * width) / (1 + std::exp(-gates.at(10))), 1e-5);
  }
}

TEST_P(RowOpsTest, PositionScale) {
  Random random(17);
  const HostTensor positions = tensor_of<int32_t>({0, 8190, 8191, 100000, 1000000});
  HostTensor actual = random.tensor(DType::kF32, {5, 3, 20});
  HostTensor expected = actual.clone();
  const HostTensor before = actual.clone();
  const PositionScaleArgs args{actual.view(), positions.view(), 8192, 0.1f};
  cpu_->position_scale(args, {});
  reference_->position_scale({expected.view(), positions.view(), 8192, 0.1f}, {});
  expect_near(actual, expected, 1e-6f, "position_scale");
  // Before the first floor nothing changes; at position 8191 the factor is 1 + 0.1 log 2.
  EXPECT_EQ(actual.at(60), before.at(60));
  EXPECT_NEAR(actual.at(120), before.at(120) * (1 + 0.1 * std::log(2.0)), 1e-6);
}

TEST_P(RowOpsTest, KvAppend) { expect_kv_append_agrees({cpu_.get(), reference_.get()}); }

TEST_P(RowOpsTest, GatherRows) {
  Random random(19);
  const HostTensor x = random.tensor(DType::kF32, {6, 33});
  const HostTensor rows = tensor_of<int32_t>({5, 0, 5});
  HostTensor actual(DType::kF32, {3, 33});
  HostTensor expected(DType::kF32, {3, 33});
  cpu_->gather_rows({x.view(), rows.view(), actual.view()}, {});
  reference_->gather_rows({x.view(), rows.view(), expected.view()}, {});
  expect_same_bits(actual.view(), expected.view(), "gather_rows");
  EXPECT_EQ(actual.at(33), x.at(0));
}

TEST_P(RowOpsTest, RowMaxLogSumExp) {
  Random random(20);
  for (const int64_t width : {1, 3, 17, 64, 1001, 128256}) {
    HostTensor x = random.tensor(DType::kF32, {3, width}, 5);
    for (int64_t j = 0; j < width; ++j) {  // row 1 is padding, row 2 has some
      x.set(width + j, -std::numeric_limits<float>::infinity());
      if (j % 3 == 1) x.set(2 * width + j, -std::numeric_limits<float>::infinity());
    }
    HostTensor max(DType::kF32, {3});
    HostTensor sum(DType::kF32, {3});
    cpu_->row_max_log_sum_exp({x.view(), max.view(), sum.view()}, {});
    for (const int64_t row : {0, 2}) {
      double expected_max = -1e30;
      for (int64_t j = 0; j < width; ++j)
        expected_max = std::max<double>(expected_max, x.at(row * width + j));
      double expected_sum = 0;
      for (int64_t j = 0; j < width; ++j)
        expected_sum += std::exp(x.at(row * width + j) - expected_max);
      EXPECT_EQ(max.at(row), static_cast<float>(expected_max));
      EXPECT_NEAR(sum.at(row), expected_sum, 2e-6 * expected_sum) << "width " << width;
    }
    EXPECT_EQ(max.at(1), -std::numeric_limits<float>::infinity());
    EXPECT_EQ(sum.at(1), 0.0f);
    HostTensor reference_max(DType::kF32, {3});
    HostTensor reference_sum(DType::kF32, {3});
    reference_->row_max_log_sum_exp({x.view(), reference_max.view(), reference_sum.view()}, {});
    expect_same_bits(max.view(), reference_max.view(), "max");
    expect_near(sum, reference_sum, 1e-6f, "sum_exp");
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, RowOpsTest, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

TEST(RowOpsDeathTest, IndicesOutsideTheirTensorsStopTheProcess) {
  const auto cpu = cpu_backend("portable", ComputeDType::kF32);
  Random random(21);
  const HostTensor x = random.tensor(DType::kF32, {6, 8});
  HostTensor out(DType::kF32, {1, 8});
  const HostTensor rows = tensor_of<int32_t>({6});
  EXPECT_DEATH(cpu->gather_rows({x.view(), rows.view(), out.view()}, {}), "6 vs 6");
  const HostTensor k = random.tensor(DType::kF32, {1, 1, 8});
  HostTensor cache(DType::kF32, {2, 1, 16, 8});
  const HostTensor slots = tensor_of<int64_t>({32});
  EXPECT_DEATH(cpu->kv_append({k.view(), k.view(), slots.view(), cache.view(), cache.view()}, {}),
               "32 vs 32");
}

}  // namespace
}  // namespace trireme::kernels::testing
