#include <cmath>
#include <limits>

#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/agreement.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

constexpr int64_t kRows[] = {0, 1, 3, 17};
constexpr int64_t kWidths[] = {1, 3, 64, 65, 200, 2052};
constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};

using DeviceRowOps = DeviceTest;

TEST_F(DeviceRowOps, Embedding) {
  Random random(11);
  for (const DType dtype : kFloats) {
    for (const int64_t width : kWidths) {
      const HostTensor table = random.tensor(dtype, {10, width});
      const HostTensor ids =
          tensor_of<int32_t>({5, 14, 4, 15, 0, -1, 7, 7, std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max()});
      HostTensor actual(DType::kF32, {10, width});
      HostTensor expected(DType::kF32, {10, width});
      f32_->embedding({ids.view(), table.view(), 5, actual.view()}, {});
      reference_->embedding({ids.view(), table.view(), 5, expected.view()}, {});
      expect_same_bits(actual.view(), expected.view(), "embedding");
    }
  }
}

TEST_F(DeviceRowOps, RmsNorm) {
  expect_rms_norm_agrees({f32_.get(), reference_.get(), 5e-6f}, kRows, kWidths);
}

TEST_F(DeviceRowOps, AddRmsNorm) {
  expect_add_rms_norm_agrees({f32_.get(), reference_.get(), 5e-6f}, kRows, kWidths);
}

TEST_F(DeviceRowOps, Add) {
  Random random(14);
  for (const int64_t width : kWidths) {
    const HostTensor x = random.tensor(DType::kF32, {5, width});
    HostTensor actual = random.tensor(DType::kF32, {5, width});
    HostTensor expected = actual.clone();
    f32_->add({.x = x.view(), .y = actual.view()}, {});
    reference_->add({.x = x.view(), .y = expected.view()}, {});
    expect_same_bits(actual.view(), expected.view(), "add");
  }
}

TEST_F(DeviceRowOps, RopeIsAccurateUpToPosition131072) {
  Random random(16);
  struct Case {
    int64_t head_dim;
    int64_t half;
  };
  for (const Case c : {Case{12, 6}, {24, 12}, {64, 32}, {80, 20}, {128, 64}, {16, 0}}) {
    std::vector<float> frequencies;
    for (int64_t i = 0; i < c.half; ++i) {
      frequencies.push_back(
          std::pow(500000.0f, -static_cast<float>(i) / static_cast<float>(c.half)));
    }
    const HostTensor inv_freq = tensor_of(frequencies);
    const HostTensor positions = tensor_of<int32_t>({0, 1, 777, 65535, 131071});
    // Rows of one projection: q and k are strided parts of it.
    HostTensor actual = random.tensor(DType::kF32, {5, 6 * c.head_dim});
    HostTensor expected = actual.clone();
    const auto run = [&](Backend& backend, const HostTensor& qkv) {
      backend.rope(
          {.q = qkv.view().columns(0, 3 * c.head_dim).split_columns(3, c.head_dim),
           .k = qkv.view().columns(3 * c.head_dim, 5 * c.head_dim).split_columns(2, c.head_dim),
           .positions = positions.view(),
           .inv_freq = inv_freq.view(),
           .scale = 1.25f},
          {});
    };
    // q and k are parts of one tensor: each is brought back with what lies between its rows, so
    // that the two calls are compared part by part.
    run(*reference_, expected);
    HostTensor q(DType::kF32, {5, 3, c.head_dim});
    HostTensor k(DType::kF32, {5, 2, c.head_dim});
    for (int64_t t = 0; t < 5; ++t) {
      std::memcpy(q.view().row<float>(t), actual.view().row<float>(t),
                  static_cast<size_t>(3 * c.head_dim) * sizeof(float));
      std::memcpy(k.view().row<float>(t), actual.view().row<float>(t) + 3 * c.head_dim,
                  static_cast<size_t>(2 * c.head_dim) * sizeof(float));
    }
    f32_->rope({.q = q.view(),
                .k = k.view(),
                .positions = positions.view(),
                .inv_freq = inv_freq.view(),
                .scale = 1.25f},
               {});
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t i = 0; i < 5 * c.head_dim; ++i) {
        const float got = i < 3 * c.head_dim ? q.view().row<float>(t)[i]
                                             : k.view().row<float>(t)[i - 3 * c.head_dim];
        const float want = expected.view().row<float>(t)[i];
        ASSERT_NEAR(got, want, 1e-6f + 1e-6f * std::abs(want)) << c.head_dim << " token " << t;
      }
    }
  }
}

TEST_F(DeviceRowOps, KvAppend) { expect_kv_append_agrees({f32_.get(), reference_.get()}); }

TEST_F(DeviceRowOps, GatherRows) {
  Random random(19);
  const HostTensor x = random.tensor(DType::kF32, {6, 333});
  const HostTensor rows = tensor_of<int32_t>({5, 0, 5});
  HostTensor actual(DType::kF32, {3, 333});
  HostTensor expected(DType::kF32, {3, 333});
  f32_->gather_rows({x.view(), rows.view(), actual.view()}, {});
  reference_->gather_rows({x.view(), rows.view(), expected.view()}, {});
  expect_same_bits(actual.view(), expected.view(), "gather_rows");
}

TEST_F(DeviceRowOps, RowMaxLogSumExp) {
  Random random(20);
  for (const int64_t width : {1, 3, 64, 1001, 40007}) {
    HostTensor x = random.tensor(DType::kF32, {3, width}, 5);
    for (int64_t j = 0; j < width; ++j) {  // row 1 is padding, row 2 has some
      x.set(width + j, -std::numeric_limits<float>::infinity());
      if (j % 3 == 1) x.set(2 * width + j, -std::numeric_limits<float>::infinity());
    }
    HostTensor max(DType::kF32, {3});
    HostTensor sum(DType::kF32, {3});
    HostTensor expected_max(DType::kF32, {3});
    HostTensor expected_sum(DType::kF32, {3});
    f32_->row_max_log_sum_exp({x.view(), max.view(), sum.view()}, {});
    reference_->row_max_log_sum_exp({x.view(), expected_max.view(), expected_sum.view()}, {});
    expect_same_bits(max.view(), expected_max.view(), "max");
    expect_near(sum, expected_sum, 2e-6f, "sum_exp");
  }
}

TEST_F(DeviceRowOps, MemoryArrivesZeroedAlignedAndRefusesWithNumbers) {
  auto buffer = f32_->allocate(4097);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % 256, 0u);
  std::vector<char> host(4097, 1);
  f32_->copy_to_host(host.data(), (*buffer)->data(), host.size(), {});
  f32_->synchronize({});
  EXPECT_EQ(host, std::vector<char>(4097, 0));
  const size_t too_much = size_t{1} << 60;
  const auto refused = f32_->allocate(too_much);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find(std::to_string(too_much)), std::string::npos);
}

}  // namespace
}  // namespace trireme::kernels::testing
