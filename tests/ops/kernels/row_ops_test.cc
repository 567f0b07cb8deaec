#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/isa_select.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int64_t kRows[] = {0, 1, 3, 17, 65};
constexpr int64_t kWidths[] = {1, 3, 17, 33, 64, 65, 200};
constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr DType kActivations[] = {DType::kF32, DType::kBF16};

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

TEST_P(RowOpsTest, RmsNorm) {
  Random random(12);
  for (const int64_t rows : kRows) {
    for (const int64_t width : kWidths) {
      const HostTensor x = random.tensor(DType::kF32, {rows, width}, 3);
      const HostTensor weight = random.tensor(DType::kF32, {width});
      for (const DType dtype : kActivations) {
        HostTensor actual(dtype, {rows, width});
        HostTensor expected(dtype, {rows, width});
        cpu_->rms_norm({x.view(), weight.view(), 1e-5f, actual.view()}, {});
        reference_->rms_norm({x.view(), weight.view(), 1e-5f, expected.view()}, {});
        expect_near(actual, expected, 3e-6f, "rms_norm");
      }
    }
  }
}

TEST_P(RowOpsTest, AddRmsNorm) {
  Random random(13);
  for (const int64_t rows : kRows) {
    for (const int64_t width : kWidths) {
      const HostTensor delta = random.tensor(DType::kF32, {rows, width});
      const HostTensor weight = random.tensor(DType::kF32, {width});
      HostTensor residual = random.tensor(DType::kF32, {rows, width});
      HostTensor expected_residual = residual;
      for (const DType dtype : kActivations) {
        HostTensor actual(dtype, {rows, width});
        HostTensor expected(dtype, {rows, width});
        cpu_->add_rms_norm({residual.view(), delta.view(), weight.view(), 1e-6f, actual.view()},
                           {});
        reference_->add_rms_norm(
            {expected_residual.view(), delta.view(), weight.view(), 1e-6f, expected.view()}, {});
        expect_same_bits(residual.view(), expected_residual.view(), "residual");
        expect_near(actual, expected, 3e-6f, "add_rms_norm");
      }
    }
  }
}

TEST_P(RowOpsTest, Add) {
  Random random(14);
  for (const int64_t width : kWidths) {
    const HostTensor x = random.tensor(DType::kF32, {5, width});
    HostTensor actual = random.tensor(DType::kF32, {5, width});
    HostTensor expected = actual;
    cpu_->add({x.view(), actual.view()}, {});
    reference_->add({x.view(), expected.view()}, {});
    expect_same_bits(actual.view(), expected.view(), "add");
  }
}

TEST_P(RowOpsTest, SiluMul) {
  Random random(15);
  for (const int64_t width : kWidths) {
    HostTensor gate_up = random.tensor(DType::kF32, {4, 2 * width}, 4);
    gate_up.set(0, -200.0f);  // exp overflows here
    gate_up.set(2 * width, 200.0f);
    for (const DType dtype : kActivations) {
      HostTensor actual(dtype, {4, width});
      HostTensor expected(dtype, {4, width});
      cpu_->silu_mul({gate_up.view(), actual.view()}, {});
      reference_->silu_mul({gate_up.view(), expected.view()}, {});
      expect_near(actual, expected, 2e-6f, "silu_mul");
    }
  }
}

struct RopeCase {
  int64_t head_dim;
  int64_t half;
};

TEST_P(RowOpsTest, RopeIsAccurateUpToPosition131072) {
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
    HostTensor actual_q = q;
    HostTensor actual_k = k;
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
    HostTensor expected_q = q;
    HostTensor expected_k = k;
    reference_->rope(
        {expected_q.view(), expected_k.view(), positions.view(), inv_freq.view(), 1.25f}, {});
    expect_near(actual_q, expected_q, 1e-6f, "q");
    expect_near(actual_k, expected_k, 1e-6f, "k");
  }
}

// The table of angles is kept between calls: a change of any input must be seen.
TEST_P(RowOpsTest, RopeSeesChangedPositionsFrequenciesAndScale) {
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
        HostTensor expected_q = q;
        HostTensor expected_k = k;
        cpu_->rope({q.view(), k.view(), position.view(), inv_freq.view(), scale}, {});
        reference_->rope(
            {expected_q.view(), expected_k.view(), position.view(), inv_freq.view(), scale}, {});
        expect_near(q, expected_q, 1e-6f, "q");
      }
    }
  }
}

TEST_P(RowOpsTest, KvAppend) {
  Random random(18);
  for (const DType dtype : kFloats) {
    for (const int64_t head_dim : {12, 24, 64, 80, 128}) {
      const HostTensor k = random.tensor(DType::kF32, {4, 3, head_dim});
      const HostTensor v = random.tensor(DType::kF32, {4, 3, head_dim});
      const HostTensor slots = tensor_of<int64_t>({0, 31, 17, 79});
      HostTensor k_cache = random.tensor(dtype, {5, 3, 16, head_dim});
      HostTensor v_cache = random.tensor(dtype, {5, 3, 16, head_dim});
      HostTensor expected_k = k_cache;
      HostTensor expected_v = v_cache;
      cpu_->kv_append({k.view(), v.view(), slots.view(), k_cache.view(), v_cache.view()}, {});
      reference_->kv_append(
          {k.view(), v.view(), slots.view(), expected_k.view(), expected_v.view()}, {});
      expect_same_bits(k_cache.view(), expected_k.view(), "k_cache");
      expect_same_bits(v_cache.view(), expected_v.view(), "v_cache");
      // Token 1, head 2, channel 3 lies in block 1 at offset 15.
      HostTensor one(dtype, {1});
      one.set(0, k.at((1 * 3 + 2) * head_dim + 3));
      EXPECT_EQ(k_cache.at(((1 * 3 + 2) * 16 + 15) * head_dim + 3), one.at(0));
    }
  }
}

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

// exp is not an op of its own; a row of two shows it: sum_exp of {0, x} is 1 + e^x.
TEST_P(RowOpsTest, ExpIsAccurateToTheLastBits) {
  const auto kernels = cpu::select_kernels(GetParam()).value();
  double worst = 0;
  for (int i = 0; i <= 20000; ++i) {
    const float x = -static_cast<float>(i) * 87.0f / 20000;
    // silu(g) * u with u = 1: g / (1 + e^-g); at g = x it divides by 1 + e^-x.
    float out = 0;
    const float up = 1;
    kernels.silu_mul(&x, &up, 1, DType::kF32, &out);
    const double expected = x / (1 + std::exp(-static_cast<double>(x)));
    if (expected != 0) worst = std::max(worst, std::abs(out - expected) / std::abs(expected));
  }
  EXPECT_LT(worst, 4e-7);  // exp, and three roundings around it
  EXPECT_GT(worst, 0);
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
