#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "kernels/cpu/isa_select.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int64_t kWidths[] = {1, 3, 17, 33, 64, 65, 200};
constexpr DType kOutputs[] = {DType::kF32, DType::kBF16};
constexpr Activation kAll[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh};

class ActivationsTest : public EachIsa {};

// The definitions once more, in f64.
double exact(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return x * std::erfc(-x / std::sqrt(2.0)) / 2;
    case Activation::kGeluTanh:
      return x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) / 2;
    default:
      return x / (1 + std::exp(-x));
  }
}

TEST_P(ActivationsTest, AgreeWithTheReference) {
  Random random(15);
  for (const int64_t width : kWidths) {
    HostTensor wide = random.tensor(DType::kF32, {4, 2 * width + 3}, 4);
    wide.set(1, -200.0f);  // exp overflows here
    wide.set(2 * width + 4, 200.0f);
    const TensorView gate_up = wide.view().columns(1, 1 + 2 * width);
    for (const Activation activation : kAll) {
      for (const DType dtype : kOutputs) {
        HostTensor actual(dtype, {4, width});
        HostTensor expected(dtype, {4, width});
        cpu_->gated_activation({gate_up, activation, actual.view()}, {});
        reference_->gated_activation({gate_up, activation, expected.view()}, {});
        expect_near(actual, expected, 3e-6f, "gated_activation");
        cpu_->activation({gate_up.columns(0, width), activation, actual.view()}, {});
        reference_->activation({gate_up.columns(0, width), activation, expected.view()}, {});
        expect_near(actual, expected, 2e-6f, "activation");
      }
    }
  }
}

TEST_P(ActivationsTest, AreTheirDefinitionsToTheLastDigits) {
  constexpr int64_t kPoints = 20001;
  HostTensor x(DType::kF32, {1, kPoints});
  for (int64_t i = 0; i < kPoints; ++i) x.set(i, static_cast<float>(i - 10000) * 0.0021f);
  for (Backend* backend : {cpu_.get(), reference_.get()}) {
    for (const Activation activation : kAll) {
      HostTensor out(DType::kF32, {1, kPoints});
      backend->activation({x.view(), activation, out.view()}, {});
      for (int64_t i = 0; i < kPoints; ++i) {
        const double expected = exact(activation, x.at(i));
        ASSERT_NEAR(out.at(i), expected, 4e-7 * std::abs(expected) + 4e-7) << "at " << x.at(i);
      }
    }
  }
}

TEST_P(ActivationsTest, ClampedSwiglu) {
  Random random(16);
  for (const int64_t width : kWidths) {
    const HostTensor gate_up = random.tensor(DType::kF32, {4, 2 * width}, 8);  // both clamps bite
    for (const DType dtype : kOutputs) {
      HostTensor actual(dtype, {4, width});
      HostTensor expected(dtype, {4, width});
      cpu_->clamped_swiglu({.gate_up = gate_up.view(), .out = actual.view()}, {});
      reference_->clamped_swiglu({.gate_up = gate_up.view(), .out = expected.view()}, {});
      expect_near(actual, expected, 2e-6f, "clamped_swiglu");
    }
  }
  const HostTensor known = [] {
    HostTensor t(DType::kF32, {1, 4});  // two gates, two ups
    for (const auto& [i, v] : {std::pair{0, 100.0f}, {1, -2.0f}, {2, -9.0f}, {3, 3.0f}})
      t.set(i, v);
    return t;
  }();
  HostTensor out(DType::kF32, {1, 2});
  cpu_->clamped_swiglu({.gate_up = known.view(), .out = out.view()}, {});
  EXPECT_NEAR(out.at(0), (-7 + 1) * 7 / (1 + std::exp(-1.702 * 7)), 1e-4);
  EXPECT_NEAR(out.at(1), (3 + 1) * -2 / (1 + std::exp(1.702 * 2)), 1e-6);
}

TEST_P(ActivationsTest, Softcap) {
  constexpr int64_t kPoints = 4003;
  for (const float cap : {30.0f, 50.0f}) {
    HostTensor actual(DType::kF32, {1, kPoints});
    for (int64_t i = 0; i < kPoints; ++i) actual.set(i, static_cast<float>(i - 2001) * 0.1f);
    actual.set(0, -std::numeric_limits<float>::infinity());
    const HostTensor before = actual.clone();
    HostTensor expected = actual.clone();
    cpu_->softcap({actual.view(), cap}, {});
    reference_->softcap({expected.view(), cap}, {});
    for (int64_t i = 0; i < kPoints; ++i) {
      const double exact_value = cap * std::tanh(static_cast<double>(before.at(i)) / cap);
      ASSERT_NEAR(actual.at(i), exact_value, 5e-7 * std::abs(exact_value)) << "at " << before.at(i);
      ASSERT_NEAR(expected.at(i), exact_value, 5e-7 * std::abs(exact_value));
    }
  }
  HostTensor wide(DType::kF32, {3, 21});
  for (int64_t i = 0; i < 63; ++i) wide.set(i, 40);
  cpu_->softcap({wide.view().columns(1, 20), 30}, {});
  for (int64_t i = 0; i < 63; ++i) {
    const bool inside = i % 21 >= 1 && i % 21 < 20;
    ASSERT_NEAR(wide.at(i), inside ? 30 * std::tanh(40.0 / 30) : 40, 1e-5);
  }
}

TEST_P(ActivationsTest, RowsDoNotKnowTheirBatch) {
  Random random(17);
  const HostTensor x = random.tensor(DType::kF32, {40, 2 * 333}, 3);
  for (const Activation activation : kAll) {
    HostTensor whole(DType::kF32, {40, 333});
    cpu_->gated_activation({x.view(), activation, whole.view()}, {});
    for (int64_t i = 0; i < 40; ++i) {
      HostTensor one(DType::kF32, {1, 333});
      cpu_->gated_activation({x.view().rows(i, i + 1), activation, one.view()}, {});
      expect_same_bits(one.view(), whole.view().rows(i, i + 1), "gated_activation");
    }
  }
}

// exp is not an op of its own; a row of two shows it: sum_exp of {0, x} is 1 + e^x.
TEST_P(ActivationsTest, ExpIsAccurateToTheLastBits) {
  const auto kernels = cpu::select_kernels(GetParam()).value();
  double worst = 0;
  for (int i = 0; i <= 20000; ++i) {
    const float x = -static_cast<float>(i) * 87.0f / 20000;
    // silu(g) * u with u = 1: g / (1 + e^-g); at g = x it divides by 1 + e^-x.
    float out = 0;
    const float up = 1;
    kernels.activate(&x, &up, Activation::kSilu, 1, DType::kF32, &out);
    const double expected = x / (1 + std::exp(-static_cast<double>(x)));
    if (expected != 0) worst = std::max(worst, std::abs(out - expected) / std::abs(expected));
  }
  EXPECT_LT(worst, 4e-7);  // exp, and three roundings around it
  EXPECT_GT(worst, 0);
}

INSTANTIATE_TEST_SUITE_P(Isa, ActivationsTest, ::testing::ValuesIn(isas_of_this_machine()),
                         isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
