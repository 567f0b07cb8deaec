#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/kernels/agreement.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int64_t kRows[] = {0, 1, 3, 17, 65};
constexpr int64_t kWidths[] = {1, 3, 17, 33, 64, 65, 200};
constexpr DType kActivations[] = {DType::kF32, DType::kBF16};

class NormsTest : public EachIsa {};

TEST_P(NormsTest, RmsNorm) {
  expect_rms_norm_agrees({cpu_.get(), reference_.get(), 3e-6f}, kRows, kWidths);
}

TEST_P(NormsTest, AddRmsNorm) {
  expect_add_rms_norm_agrees({cpu_.get(), reference_.get(), 3e-6f}, kRows, kWidths);
}

TEST_P(NormsTest, LayerNorm) {
  Random random(14);
  for (const int64_t rows : kRows) {
    for (const int64_t width : kWidths) {
      // Far from zero: a variance from the mean of squares would lose its digits.
      HostTensor wide = random.tensor(DType::kF32, {rows, width + 3}, 3);
      for (int64_t i = 0; i < wide.view().numel(); ++i) wide.set(i, wide.at(i) + 10);
      const TensorView x = wide.view().columns(1, 1 + width);
      const HostTensor weight = random.tensor(DType::kF32, {width});
      const HostTensor bias = random.tensor(DType::kF32, {width});
      for (const DType dtype : kActivations) {
        for (const TensorView& b : {bias.view(), TensorView()}) {
          HostTensor actual(dtype, {rows, width});
          HostTensor expected(dtype, {rows, width});
          cpu_->layer_norm({x, weight.view(), b, 0.1f, actual.view()}, {});
          reference_->layer_norm({x, weight.view(), b, 0.1f, expected.view()}, {});
          expect_near(actual, expected, 3e-5f, "layer_norm of " + std::to_string(width));
        }
      }
    }
  }
}

TEST_P(NormsTest, LayerNormOfAKnownRow) {
  const HostTensor x(tensor_of<float>({1, 2, 3, 6}));
  const HostTensor weight(tensor_of<float>({1, 1, 2, 1}));
  const HostTensor bias(tensor_of<float>({0, 0, 0, 10}));
  HostTensor out(DType::kF32, {1, 4});
  const TensorView row(x.view().data, DType::kF32, {1, 4});
  for (Backend* backend : {cpu_.get(), reference_.get()}) {
    backend->layer_norm({row, weight.view(), bias.view(), 0.5f, out.view()}, {});
    // Mean 3, variance 3.5, and with eps the deviation is 2.
    EXPECT_FLOAT_EQ(out.at(0), -1);
    EXPECT_FLOAT_EQ(out.at(1), -0.5f);
    EXPECT_FLOAT_EQ(out.at(2), 0);
    EXPECT_FLOAT_EQ(out.at(3), 11.5f);
  }
}

// The q heads of a fused projection, so that rows are strided and what lies beside them must stay.
TEST_P(NormsTest, HeadNorms) {
  Random random(15);
  for (const int64_t head_dim : {1, 12, 33, 64, 80, 128}) {
    const int64_t n_heads = 3;
    const HostTensor per_head = random.tensor(DType::kF32, {n_heads, head_dim});
    const HostTensor shared = random.tensor(DType::kF32, {head_dim});
    for (const TensorView& weight : {per_head.view(), shared.view(), TensorView()}) {
      HostTensor actual = random.tensor(DType::kF32, {5, n_heads * head_dim + 7}, 4);
      HostTensor expected = actual.clone();
      const auto heads = [&](const HostTensor& t) {
        return t.view().columns(2, 2 + n_heads * head_dim).split_columns(n_heads, head_dim);
      };
      cpu_->head_rms_norm({heads(actual), weight, 1e-6f}, {});
      reference_->head_rms_norm({heads(expected), weight, 1e-6f}, {});
      expect_near(actual, expected, 3e-6f, "head_rms_norm");
      cpu_->head_layer_norm({heads(actual), weight, 1e-2f}, {});
      reference_->head_layer_norm({heads(expected), weight, 1e-2f}, {});
      expect_near(actual, expected, 2e-5f, "head_layer_norm");
    }
  }
}

TEST_P(NormsTest, HeadWeightsBelongToTheirHeads) {
  HostTensor x(DType::kF32, {1, 2, 2});
  for (int64_t i = 0; i < 4; ++i) x.set(i, i % 2 == 0 ? 3.0f : -3.0f);
  HostTensor weight(DType::kF32, {2, 2});
  for (int64_t i = 0; i < 4; ++i) weight.set(i, static_cast<float>(i + 1));
  cpu_->head_rms_norm({x.view(), weight.view(), 0}, {});
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(x.at(i), static_cast<float>(i % 2 == 0 ? i + 1 : -i - 1));
  }
}

// A norm over a width that is cut over ranks: sums of squares, added, then each part on its own.
TEST_P(NormsTest, NormInPartsIsTheNorm) {
  Random random(16);
  for (const int64_t width : {3, 33, 64, 200}) {
    const int64_t cut = width / 3;
    const HostTensor whole = random.tensor(DType::kF32, {6, width}, 2);
    const HostTensor weight = random.tensor(DType::kF32, {width});
    for (Backend* backend : {cpu_.get(), reference_.get()}) {
      HostTensor parts = whole.clone();
      HostTensor left(DType::kF32, {6, 1});
      HostTensor sums(DType::kF32, {6, 1});
      backend->row_sum_squares({parts.view().columns(0, cut), left.view()}, {});
      backend->row_sum_squares({parts.view().columns(cut, width), sums.view()}, {});
      backend->add({left.view(), sums.view()}, {});
      const TensorView weights = weight.view();
      backend->rms_norm_rows(
          {parts.view().columns(0, cut), sums.view(), weights.rows(0, cut), width, 1e-5f}, {});
      backend->rms_norm_rows(
          {parts.view().columns(cut, width), sums.view(), weights.rows(cut, width), width, 1e-5f},
          {});
      HostTensor expected(DType::kF32, {6, width});
      reference_->rms_norm({whole.view(), weight.view(), 1e-5f, expected.view()}, {});
      expect_near(parts, expected, 3e-6f, "norm in parts");
    }
  }
}

TEST_P(NormsTest, RowsDoNotKnowTheirBatch) {
  Random random(17);
  HostTensor x = random.tensor(DType::kF32, {40, 777}, 2);
  const HostTensor weight = random.tensor(DType::kF32, {777});
  HostTensor whole(DType::kBF16, {40, 777});
  HostTensor sums(DType::kF32, {40, 1});
  cpu_->layer_norm({x.view(), weight.view(), weight.view(), 1e-5f, whole.view()}, {});
  cpu_->row_sum_squares({x.view(), sums.view()}, {});
  HostTensor heads = x.clone();
  cpu_->head_rms_norm({heads.view().split_columns(7, 111), TensorView(), 1e-5f}, {});
  for (int64_t i = 0; i < 40; ++i) {
    const TensorView row = x.view().rows(i, i + 1);
    HostTensor one(DType::kBF16, {1, 777});
    HostTensor sum(DType::kF32, {1, 1});
    cpu_->layer_norm({row, weight.view(), weight.view(), 1e-5f, one.view()}, {});
    cpu_->row_sum_squares({row, sum.view()}, {});
    expect_same_bits(one.view(), whole.view().rows(i, i + 1), "layer_norm");
    EXPECT_EQ(sum.at(0), sums.at(i));
    cpu_->head_rms_norm({row.split_columns(7, 111), TensorView(), 1e-5f}, {});
    expect_same_bits(row, heads.view().rows(i, i + 1), "head_rms_norm");
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, NormsTest, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
