// Norms of heads and of cut rows, activations and scales.
#include <limits>

#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int64_t kWidths[] = {1, 3, 64, 65, 200, 1028};
constexpr DType kActivations[] = {DType::kF32, DType::kBF16};

using DeviceMoreRowOps = DeviceTest;

TEST_F(DeviceMoreRowOps, LayerNorm) {
  Random random(1);
  for (const int64_t width : kWidths) {
    const HostTensor x = random.tensor(DType::kF32, {7, width}, 3);
    const HostTensor weight = random.tensor(DType::kF32, {width});
    const HostTensor bias = random.tensor(DType::kF32, {width});
    for (const DType dtype : kActivations) {
      HostTensor actual(dtype, {7, width});
      HostTensor expected(dtype, {7, width});
      LayerNormArgs args{.x = x.view(),
                         .weight = weight.view(),
                         .bias = dtype == DType::kF32 ? bias.view() : TensorView(),
                         .eps = 1e-5f,
                         .out = actual.view()};
      f32_->layer_norm(args, {});
      args.out = expected.view();
      reference_->layer_norm(args, {});
      expect_near(actual, expected, 1e-5f, "layer_norm");
    }
  }
}

TEST_F(DeviceMoreRowOps, HeadNorms) {
  Random random(2);
  for (const int64_t head_dim : {1, 12, 33, 64, 128, 200}) {
    const HostTensor shared = random.tensor(DType::kF32, {head_dim});
    const HostTensor own = random.tensor(DType::kF32, {5, head_dim});
    for (const TensorView& weight : {TensorView(), shared.view(), own.view()}) {
      const HostTensor x = random.tensor(DType::kF32, {3, 5, head_dim}, 2);
      HostTensor actual = x.clone();
      HostTensor expected = x.clone();
      f32_->head_rms_norm({actual.view(), weight, 1e-6f}, {});
      reference_->head_rms_norm({expected.view(), weight, 1e-6f}, {});
      expect_near(actual, expected, 1e-5f, "head_rms_norm");
      if (head_dim == 1) continue;  // one channel has no deviation: its norm is 0 over rounding
      actual = x.clone();
      expected = x.clone();
      f32_->head_layer_norm({actual.view(), weight, 1e-6f}, {});
      reference_->head_layer_norm({expected.view(), weight, 1e-6f}, {});
      expect_near(actual, expected, 1e-5f, "head_layer_norm");
    }
  }
}

TEST_F(DeviceMoreRowOps, NormsOfRowsThatAreCutOverRanks) {
  Random random(3);
  for (const int64_t width : kWidths) {
    HostTensor wide = random.tensor(DType::kF32, {4, width + 3});
    HostTensor expected_wide = wide.clone();
    const HostTensor weight = random.tensor(DType::kF32, {width});
    HostTensor sums(DType::kF32, {4, 1});
    HostTensor expected_sums(DType::kF32, {4, 1});
    const TensorView x = wide.view().columns(0, width);
    const TensorView expected_x = expected_wide.view().columns(0, width);
    f32_->row_sum_squares({x, sums.view()}, {});
    reference_->row_sum_squares({expected_x, expected_sums.view()}, {});
    expect_near(sums, expected_sums, 3e-6f, "row_sum_squares");
    const auto args = [&](const TensorView& view) {
      return RmsNormRowsArgs{view, expected_sums.view(), weight.view(), 2 * width, 1e-5f};
    };
    f32_->rms_norm_rows(args(x), {});
    reference_->rms_norm_rows(args(expected_x), {});
    expect_near(wide, expected_wide, 3e-6f, "rms_norm_rows");
  }
}

TEST_F(DeviceMoreRowOps, Activations) {
  Random random(4);
  for (const int64_t width : kWidths) {
    HostTensor gate_up = random.tensor(DType::kF32, {4, 2 * width}, 4);
    gate_up.set(0, -200.0f);  // exp overflows here
    gate_up.set(2 * width, 200.0f);
    const TensorView x = gate_up.view().columns(0, width);
    for (const DType dtype : kActivations) {
      HostTensor actual(dtype, {4, width});
      HostTensor expected(dtype, {4, width});
      for (const Activation which : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
        f32_->activation({x, which, actual.view()}, {});
        reference_->activation({x, which, expected.view()}, {});
        expect_near(actual, expected, 4e-6f, "activation");
        f32_->gated_activation({gate_up.view(), which, actual.view()}, {});
        reference_->gated_activation({gate_up.view(), which, expected.view()}, {});
        expect_near(actual, expected, 1e-5f, "gated_activation");
      }
      f32_->clamped_swiglu({gate_up.view(), 1.702f, 7, actual.view()}, {});
      reference_->clamped_swiglu({gate_up.view(), 1.702f, 7, expected.view()}, {});
      expect_near(actual, expected, 1e-5f, "clamped_swiglu");
    }
  }
}

TEST_F(DeviceMoreRowOps, Scales) {
  Random random(5);
  const HostTensor gate = random.tensor(DType::kF32, {6, 1});
  const HostTensor positions = tensor_of<int32_t>({0, 1, 8190, 8191, 8192, 131071});
  const auto run = [&](Backend& backend, const HostTensor& x, const HostTensor& heads) {
    backend.scale({x.view().columns(0, 65), 0.37f}, {});
    backend.softcap({x.view().columns(2, 70), 1.5f}, {});
    backend.sigmoid_scale_rows({x.view(), gate.view()}, {});
    backend.position_scale({heads.view(), positions.view(), 8192, 0.1f}, {});
  };
  HostTensor x = random.tensor(DType::kF32, {6, 77}, 2);
  HostTensor heads = random.tensor(DType::kF32, {6, 3, 20});
  HostTensor expected_x = x.clone();
  HostTensor expected_heads = heads.clone();
  run(*f32_, x, heads);
  run(*reference_, expected_x, expected_heads);
  expect_near(x, expected_x, 3e-6f, "scale, softcap, sigmoid");
  expect_near(heads, expected_heads, 3e-6f, "position_scale");
}

TEST_F(DeviceMoreRowOps, RopeLayoutsAndSets) {
  Random random(6);
  HostTensor inv_freq = random.tensor(DType::kF32, {2, 12}, 0.3f);
  const HostTensor positions = tensor_of<int32_t>({0, 5, 131071});
  const HostTensor sets = tensor_of<int32_t>({1, 0, 1});
  for (const RopeLayout layout : {RopeLayout::kHalfSplit, RopeLayout::kInterleaved}) {
    for (const bool with_k : {true, false}) {
      HostTensor q = random.tensor(DType::kF32, {3, 3, 40});
      HostTensor k = random.tensor(DType::kF32, {3, 2, 40});
      HostTensor expected_q = q.clone();
      HostTensor expected_k = k.clone();
      RopeArgs args{.q = q.view(),
                    .k = with_k ? k.view() : TensorView(),
                    .positions = positions.view(),
                    .inv_freq = inv_freq.view(),
                    .layout = layout,
                    .set_of_token = sets.view()};
      f32_->rope(args, {});
      args.q = expected_q.view();
      if (with_k) args.k = expected_k.view();
      reference_->rope(args, {});
      expect_near(q, expected_q, 2e-6f, "q");
      expect_near(k, expected_k, 2e-6f, "k");
    }
  }
}

}  // namespace
}  // namespace trireme::kernels::testing
