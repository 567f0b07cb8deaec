#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

struct Case {
  int64_t rows;
  int64_t in;
  int64_t out;
};

// Odd sizes around the tile (6 rows), the pair (2 inputs), the vector (16) and the panel (64), and
// inputs of more than one block.
constexpr Case kCases[] = {{0, 8, 8},    {1, 1, 1},      {1, 64, 64},   {1, 65, 130},
                           {2, 3, 17},   {3, 33, 3},     {4, 16, 63},   {5, 31, 65},
                           {6, 2, 16},   {7, 200, 70},   {13, 17, 33},  {17, 65, 17},
                           {33, 40, 64}, {65, 515, 129}, {20, 1101, 66}};

using Parameters = std::tuple<std::string, ComputeDType, DType>;

class LinearTest : public ::testing::TestWithParam<Parameters> {};

void run(Backend* backend, const HostTensor& x, const HostTensor& weight, const HostTensor* bias,
         HostTensor* out) {
  const auto packed = pack(backend, weight.view());
  ASSERT_EQ(packed->out_features(), weight.view().dim(0));
  ASSERT_EQ(packed->in_features(), weight.view().dim(1));
  ASSERT_GT(packed->bytes(), 0u);
  backend->linear({.x = x.view(),
                   .weight = packed.get(),
                   .bias = bias == nullptr ? TensorView() : bias->view(),
                   .out = out->view()},
                  {});
}

TEST_P(LinearTest, AgreesWithTheReference) {
  const auto& [isa, compute, weight_dtype] = GetParam();
  const auto cpu = cpu_backend(isa, compute);
  const auto reference = make_reference_backend(compute);
  Random random(3);
  for (const Case& c : kCases) {
    const float deviation = 1.0f / std::sqrt(static_cast<float>(c.in));
    const HostTensor weight = random.tensor(weight_dtype, {c.out, c.in}, deviation);
    const HostTensor bias = random.tensor(DType::kF32, {c.out});
    for (const DType x_dtype : {DType::kF32, DType::kBF16}) {
      const HostTensor x = random.tensor(x_dtype, {c.rows, c.in});
      for (const DType out_dtype : {DType::kF32, DType::kBF16}) {
        const HostTensor* b = out_dtype == x_dtype ? &bias : nullptr;
        HostTensor actual(out_dtype, {c.rows, c.out});
        HostTensor expected(out_dtype, {c.rows, c.out});
        run(cpu.get(), x, weight, b, &actual);
        run(reference.get(), x, weight, b, &expected);
        expect_near(actual, expected, 5e-6f,
                    std::to_string(c.rows) + "x" + std::to_string(c.in) + "x" +
                        std::to_string(c.out) + " " + std::string(to_string(x_dtype)));
      }
    }
  }
}

TEST_P(LinearTest, TakesStridedTensors) {
  const auto& [isa, compute, weight_dtype] = GetParam();
  const auto cpu = cpu_backend(isa, compute);
  Random random(4);
  const HostTensor wide_weight = random.tensor(weight_dtype, {70, 90}, 0.2f);
  const HostTensor wide_x = random.tensor(DType::kF32, {9, 100});
  const TensorView weight = wide_weight.view().columns(20, 70);
  const TensorView x = wide_x.view().columns(7, 57);
  HostTensor dense_weight(weight_dtype, {70, 50});
  HostTensor dense_x(DType::kF32, {9, 50});
  for (int64_t i = 0; i < 70; ++i) {
    for (int64_t j = 0; j < 50; ++j) dense_weight.set(i * 50 + j, wide_weight.at(i * 90 + 20 + j));
  }
  for (int64_t i = 0; i < 9; ++i) {
    for (int64_t j = 0; j < 50; ++j) dense_x.set(i * 50 + j, wide_x.at(i * 100 + 7 + j));
  }
  HostTensor expected(DType::kF32, {9, 70});
  run(cpu.get(), dense_x, dense_weight, nullptr, &expected);

  HostTensor wide_out = random.tensor(DType::kF32, {9, 80});
  const HostTensor before = wide_out.clone();
  const auto packed = pack(cpu.get(), weight);
  cpu->linear({.x = x, .weight = packed.get(), .out = wide_out.view().columns(5, 75)}, {});
  for (int64_t i = 0; i < 9; ++i) {
    for (int64_t j = 0; j < 80; ++j) {
      const bool inside = j >= 5 && j < 75;
      ASSERT_EQ(wide_out.at(i * 80 + j),
                inside ? expected.at(i * 70 + j - 5) : before.at(i * 80 + j));
    }
  }
}

std::string parameter_name(const ::testing::TestParamInfo<Parameters>& info) {
  return std::get<0>(info.param) + "_compute_" + std::string(to_string(std::get<1>(info.param))) +
         "_weight_" + std::string(to_string(std::get<2>(info.param)));
}

INSTANTIATE_TEST_SUITE_P(
    Isa, LinearTest,
    ::testing::Combine(::testing::ValuesIn(isas_of_this_machine()),
                       ::testing::Values(ComputeDType::kBF16, ComputeDType::kF32),
                       ::testing::Values(DType::kF32, DType::kF16, DType::kBF16)),
    parameter_name);

// Small integers have exact sums in every order and in every dtype, so nothing may differ at all.
TEST(Linear, IsExactWhereArithmeticIs) {
  for (const std::string& isa : isas_of_this_machine()) {
    for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
      const auto cpu = cpu_backend(isa, compute);
      Random random(5);
      HostTensor x(DType::kF32, {11, 77});
      HostTensor weight(DType::kBF16, {100, 77});
      for (int64_t i = 0; i < x.view().numel(); ++i)
        x.set(i, static_cast<float>(random.integer(-9, 9)));
      for (int64_t i = 0; i < weight.view().numel(); ++i) {
        weight.set(i, static_cast<float>(random.integer(-9, 9)));
      }
      HostTensor out(DType::kF32, {11, 100});
      run(cpu.get(), x, weight, nullptr, &out);
      for (int64_t i = 0; i < 11; ++i) {
        for (int64_t o = 0; o < 100; ++o) {
          float sum = 0;
          for (int64_t k = 0; k < 77; ++k) sum += x.at(i * 77 + k) * weight.at(o * 77 + k);
          ASSERT_EQ(out.at(i * 100 + o), sum) << isa << " row " << i << " output " << o;
        }
      }
    }
  }
}

TEST(Linear, Bf16WeightsStayBf16UnderBothComputeDtypes) {
  Random random(6);
  const HostTensor weight = random.tensor(DType::kBF16, {128, 128});
  const HostTensor weight_f32 = random.tensor(DType::kF32, {128, 128});
  const auto f32 = cpu_backend("", ComputeDType::kF32);
  const auto bf16 = cpu_backend("", ComputeDType::kBF16);
  EXPECT_EQ(pack(f32.get(), weight.view())->bytes(), 128u * 128 * 2);
  EXPECT_EQ(pack(bf16.get(), weight.view())->bytes(), 128u * 128 * 2);
  EXPECT_EQ(pack(bf16.get(), weight_f32.view())->bytes(), 128u * 128 * 2);
  EXPECT_EQ(pack(f32.get(), weight_f32.view())->bytes(), 128u * 128 * 4);
}

TEST(LinearDeathTest, WrongShapesStopTheProcessWithBothOperands) {
  const auto cpu = cpu_backend("portable", ComputeDType::kF32);
  Random random(7);
  const auto packed = pack(cpu.get(), random.tensor(DType::kF32, {8, 16}).view());
  const HostTensor x = random.tensor(DType::kF32, {2, 15});
  HostTensor out(DType::kF32, {2, 8});
  EXPECT_DEATH(cpu->linear({.x = x.view(), .weight = packed.get(), .out = out.view()}, {}),
               "15 vs 16");
  const auto reference = make_reference_backend(ComputeDType::kF32);
  const auto foreign = pack(reference.get(), random.tensor(DType::kF32, {8, 15}).view());
  EXPECT_DEATH(cpu->linear({.x = x.view(), .weight = foreign.get(), .out = out.view()}, {}),
               "another backend");
}

}  // namespace
}  // namespace trireme::kernels::testing
