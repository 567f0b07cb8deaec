// Ops of one decode step in few launches, and what is sampled from logits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/counter_random.h"
#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

using DeviceFused = DeviceTest;
using DeviceSampling = DeviceTest;

struct FusedCase {
  int64_t head_dim;
  int64_t n_pairs;  // 0: no rotation
  bool norm;
  RopeLayout layout;
};

TEST_F(DeviceFused, NormRopeAppendIsItsPartsInTurn) {
  Random random(31);
  constexpr auto kHalf = RopeLayout::kHalfSplit;
  constexpr auto kTurns = RopeLayout::kInterleaved;
  for (const FusedCase c : {FusedCase{12, 6, true, kHalf},
                            {64, 32, false, kHalf},
                            {80, 20, true, kHalf},
                            {128, 64, true, kTurns},
                            {128, 32, false, kTurns},
                            {64, 0, true, kHalf},
                            {256, 128, true, kHalf}}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
      const CacheScales scales = scales_for(dtype);
      const int64_t d = c.head_dim;
      const HostTensor qkv = random.tensor(DType::kF32, {5, 9 * d});  // 5 q, 2 k, 2 v heads
      const HostTensor q_norm = random.tensor(DType::kF32, {d});
      const HostTensor k_norm = random.tensor(DType::kF32, {d});
      std::vector<float> frequencies;
      for (int64_t i = 0; i < 2 * c.n_pairs; ++i) {
        frequencies.push_back(std::pow(10000.0f, -static_cast<float>(i) / 100));
      }
      HostTensor inv_freq(DType::kF32, {2, c.n_pairs});
      for (int64_t i = 0; i < 2 * c.n_pairs; ++i) {
        inv_freq.set(i, frequencies[static_cast<size_t>(i)]);
      }
      const HostTensor positions = tensor_of<int32_t>({0, 1, 777, 65535, 131071});
      const HostTensor sets = tensor_of<int32_t>({0, 1, 0, 1, 1});
      const HostTensor slots = tensor_of<int64_t>({0, 31, 17, 79, 5});
      HostTensor actual = qkv.clone();
      HostTensor expected = qkv.clone();
      HostTensor k_cache = random.tensor(dtype, {5, 2, 16, d});
      HostTensor v_cache = random.tensor(dtype, {5, 2, 16, d});
      HostTensor expected_k = k_cache.clone();
      HostTensor expected_v = v_cache.clone();
      const auto run = [&](Backend& backend, const HostTensor& x, const HostTensor& k_to,
                           const HostTensor& v_to) {
        const TensorView all = x.view();
        backend.norm_rope_append({.q = all.columns(0, 5 * d).split_columns(5, d),
                                  .k = all.columns(5 * d, 7 * d).split_columns(2, d),
                                  .v = all.columns(7 * d, 9 * d).split_columns(2, d),
                                  .q_norm = c.norm ? q_norm.view() : TensorView(),
                                  .k_norm = c.norm ? k_norm.view() : TensorView(),
                                  .norm_eps = 1e-6f,
                                  .positions = positions.view(),
                                  .inv_freq = c.n_pairs > 0 ? inv_freq.view() : TensorView(),
                                  .rope_scale = 1.25f,
                                  .layout = c.layout,
                                  .set_of_token = sets.view(),
                                  .slots = slots.view(),
                                  .k_cache = k_to.view(),
                                  .v_cache = v_to.view(),
                                  .k_scale = scales.k,
                                  .v_scale = scales.v},
                                 {});
      };
      run(*f32_, actual, k_cache, v_cache);
      run(*reference_, expected, expected_k, expected_v);
      const std::string what = "head_dim " + std::to_string(d);
      for (int64_t t = 0; t < 5; ++t) {
        for (int64_t i = 0; i < 5 * d; ++i) {
          ASSERT_NEAR(actual.at(t * 9 * d + i), expected.at(t * 9 * d + i), 1e-5f) << what;
        }
      }
      expect_near(k_cache, expected_k, 1e-5f, what + " k");
      expect_same_bits(v_cache.view(), expected_v.view(), what + " v");
      EXPECT_NE(k_cache.at(0), qkv.at(5 * d)) << "k of token 0 is scaled";
    }
  }
}

struct HeadCase {
  int64_t rows, heads, in, out, x_stride, out_stride;
};

TEST_F(DeviceFused, HeadLinearAgreesWithTheReference) {
  Random random(32);
  // Shared inputs, gaps between the heads, inputs that the matrix kernel does not take.
  for (const HeadCase c : {HeadCase{0, 2, 16, 8, 16, 8},
                           {1, 4, 128, 64, 128, 64},
                           {3, 3, 24, 17, 24, 20},
                           {5, 2, 40, 70, 0, 72},
                           {37, 2, 64, 66, 96, 66},
                           {33, 5, 16, 16, 16, 24},
                           {4, 3, 20, 9, 20, 9},
                           {70, 2, 13, 5, 15, 5}}) {
    for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
      Backend* device = compute == ComputeDType::kBF16 ? bf16_.get() : f32_.get();
      Backend* reference =
          compute == ComputeDType::kBF16 ? reference_bf16_.get() : reference_.get();
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        const HostTensor x =
            random.tensor(dtype, {c.rows, (c.heads - 1) * c.x_stride + c.in}, 0.5f);
        std::vector<HostTensor> weights;
        for (int64_t h = 0; h < c.heads; ++h) {
          weights.push_back(random.tensor(dtype, {c.out, c.in}, 0.2f));
        }
        HostTensor actual = random.tensor(dtype, {c.rows, c.heads * c.out_stride});
        HostTensor expected = actual.clone();
        const auto run = [&](Backend* backend, const HostTensor& out) {
          std::vector<std::unique_ptr<PackedWeight>> packed;
          std::vector<const PackedWeight*> all;
          for (const HostTensor& weight : weights) {
            packed.push_back(pack(backend, weight.view()));
            all.push_back(packed.back().get());
          }
          backend->head_linear({.x = x.view(),
                                .x_head_stride = c.x_stride,
                                .weights = all,
                                .out = out.view(),
                                .out_head_stride = c.out_stride},
                               {});
        };
        run(device, actual);
        run(reference, expected);
        expect_near(
            actual, expected, 2e-5f,
            std::to_string(c.rows) + "x" + std::to_string(c.in) + "x" + std::to_string(c.out));
      }
    }
  }
}

constexpr float kMasked = -std::numeric_limits<float>::infinity();

// Values with ties, both zeros, masks, NaN and infinity among them.
HostTensor rough_logits(Random& random, int64_t rows, int64_t width) {
  HostTensor x = random.tensor(DType::kF32, {rows, width}, 3);
  for (int64_t i = 0; i < rows * width; ++i) {
    const int32_t dice = random.integer(0, 60);
    if (dice == 0) x.set(i, kMasked);
    if (dice == 1) x.set(i, std::numeric_limits<float>::quiet_NaN());
    if (dice == 2) x.set(i, 4.5f);
    if (dice == 3) x.set(i, -0.0f);
    if (dice == 4) x.set(i, 0.0f);
    if (dice == 5 && i % 7 == 0) x.set(i, std::numeric_limits<float>::infinity());
  }
  return x;
}

struct Candidates {
  Candidates(int64_t n, int64_t k)
      : ids(DType::kI32, {n, k}), scores(DType::kF32, {n, k}), values(DType::kF32, {n, k}) {}
  HostTensor ids;
  HostTensor scores;
  HostTensor values;
};

TEST_F(DeviceSampling, CandidatesByValueAreTheReferences) {
  Random random(33);
  for (const int64_t width : {1, 5, 1023, 1024, 1025, 3000}) {
    const HostTensor x = rough_logits(random, 4, width);
    const HostTensor rows = tensor_of<int32_t>({2, 0, 3});
    for (const int64_t k : {1, 2, 8, 40, 512}) {
      Candidates actual(3, k);
      Candidates expected(3, k);
      for (auto [backend, to] : {std::pair{f32_.get(), &actual}, {reference_.get(), &expected}}) {
        backend->row_candidates({.x = x.view(),
                                 .rows = rows.view(),
                                 .first_id = 100,
                                 .ids = to->ids.view(),
                                 .scores = to->scores.view(),
                                 .values = to->values.view()},
                                {});
      }
      const std::string what = std::to_string(k) + " of " + std::to_string(width);
      expect_same_bits(actual.ids.view(), expected.ids.view(), what);
      for (int64_t i = 0; i < 3 * k; ++i) {
        ASSERT_EQ(actual.scores.at(i), expected.scores.at(i)) << what;
        ASSERT_EQ(actual.values.at(i), expected.values.at(i)) << what;
      }
    }
  }
}

TEST_F(DeviceSampling, ARowOfMasksHasNoCandidates) {
  HostTensor x(DType::kF32, {1, 1500});
  for (int64_t i = 0; i < 1500; ++i) x.set(i, kMasked);
  const HostTensor rows = tensor_of<int32_t>({0});
  Candidates found(1, 3);
  f32_->row_candidates({.x = x.view(),
                        .rows = rows.view(),
                        .ids = found.ids.view(),
                        .scores = found.scores.view(),
                        .values = found.values.view()},
                       {});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(found.ids.view().as<int32_t>()[i], -1);
    EXPECT_EQ(found.values.at(i), kMasked);
  }
}

TEST_F(DeviceSampling, DrawsHoldTheExactBestWithinTheScoresError) {
  Random random(34);
  constexpr int64_t kWidth = 2500;
  constexpr int64_t kCount = 8;
  const HostTensor x = random.tensor(DType::kF32, {6, kWidth}, 4);
  const HostTensor rows = tensor_of<int32_t>({5, 4, 3, 2, 1, 0});
  const std::vector<float> temperatures = {1, 0.1f, 0.7f, 2, 0.001f, 1.3f};
  std::vector<float> inverse;
  std::vector<int64_t> keys;
  for (size_t i = 0; i < temperatures.size(); ++i) {
    inverse.push_back(1 / temperatures[i]);
    keys.push_back(static_cast<int64_t>(mix64(i + 77)));
  }
  const HostTensor inverse_temperature = tensor_of(inverse);
  const HostTensor key = tensor_of(keys);
  Candidates actual(6, kCount);
  Candidates expected(6, kCount);
  for (auto [backend, to] : {std::pair{f32_.get(), &actual}, {reference_.get(), &expected}}) {
    backend->row_candidates({.x = x.view(),
                             .rows = rows.view(),
                             .inverse_temperature = inverse_temperature.view(),
                             .keys = key.view(),
                             .first_id = 1000,
                             .ids = to->ids.view(),
                             .scores = to->scores.view(),
                             .values = to->values.view()},
                            {});
  }
  for (int64_t i = 0; i < 6; ++i) {
    // The exact argmax is the device's first, or near enough to be among its candidates.
    EXPECT_EQ(*expected.ids.view().row<int32_t>(i), *actual.ids.view().row<int32_t>(i)) << i;
    for (int64_t j = 0; j < kCount; ++j) {
      const int32_t id = actual.ids.view().row<int32_t>(i)[j];
      ASSERT_GE(id, 1000);
      const double value = x.at((5 - i) * kWidth + id - 1000);
      EXPECT_EQ(actual.values.at(i * kCount + j), static_cast<float>(value));
      const double exact =
          value / temperatures[static_cast<size_t>(i)] +
          gumbel_noise(uniform_open(counter_hash(
              static_cast<uint64_t>(keys[static_cast<size_t>(i)]), static_cast<uint64_t>(id))));
      EXPECT_NEAR(actual.scores.at(i * kCount + j), exact, kScoreError * (std::abs(exact) + 40));
    }
  }
}

TEST_F(DeviceSampling, CountBeforeIsTheReferences) {
  Random random(35);
  for (const int64_t width : {1, 31, 1025, 2100}) {
    const HostTensor x = rough_logits(random, 3, width);
    const HostTensor rows = tensor_of<int32_t>({2, 1, 0, 2});
    const HostTensor ids = tensor_of<int32_t>(
        {50, 50 + static_cast<int32_t>(width) / 2, 7, 50 + static_cast<int32_t>(width)});
    const HostTensor values = tensor_of<float>({4.5f, 0, -1, 4.5f});
    HostTensor actual(DType::kI32, {4});
    HostTensor expected(DType::kI32, {4});
    for (auto [backend, to] : {std::pair{f32_.get(), &actual}, {reference_.get(), &expected}}) {
      backend->count_before({.x = x.view(),
                             .rows = rows.view(),
                             .ids = ids.view(),
                             .values = values.view(),
                             .first_id = 50,
                             .counts = to->view()},
                            {});
    }
    expect_same_bits(actual.view(), expected.view(), std::to_string(width));
  }
}

TEST_F(DeviceSampling, SumsOfChosenRowsTakeTheirTemperature) {
  Random random(36);
  const HostTensor x = random.tensor(DType::kF32, {5, 1700}, 4);
  const HostTensor rows = tensor_of<int32_t>({4, 0, 2});
  const HostTensor inverse = tensor_of<float>({0.5f, 1, 3});
  HostTensor max(DType::kF32, {3});
  HostTensor sum(DType::kF32, {3});
  HostTensor expected_max(DType::kF32, {3});
  HostTensor expected_sum(DType::kF32, {3});
  const auto run = [&](Backend& backend, const HostTensor& to_max, const HostTensor& to_sum) {
    backend.row_max_log_sum_exp({.x = x.view(),
                                 .max = to_max.view(),
                                 .sum_exp = to_sum.view(),
                                 .rows = rows.view(),
                                 .inverse_temperature = inverse.view()},
                                {});
  };
  run(*f32_, max, sum);
  run(*reference_, expected_max, expected_sum);
  expect_same_bits(max.view(), expected_max.view(), "max");
  expect_near(sum, expected_sum, 3e-6f, "sum_exp");
}

// Work that was recorded reads its operands as they are when it is done again.
TEST(DeviceRecording, ReplaysOnWhatTheOperandsHold) {
  std::string why;
  const auto device = make_device_backend(ComputeDType::kBF16, &why);
  if (device == nullptr) GTEST_SKIP() << why;
  Random random(37);
  const auto weight = pack(device.get(), random.tensor(DType::kBF16, {24, 64}, 0.2f).view());
  auto x = device->allocate(5 * 64 * sizeof(float));
  auto out = device->allocate(5 * 24 * sizeof(float));
  ASSERT_TRUE(x.ok() && out.ok());
  const LinearArgs args{.x = TensorView((*x)->data(), DType::kF32, {5, 64}),
                        .weight = weight.get(),
                        .out = TensorView((*out)->data(), DType::kF32, {5, 24})};
  const auto result_of = [&](const HostTensor& input, auto&& work) {
    device->copy_to_device((*x)->data(), input.view().data, input.view().bytes(), {});
    work();
    HostTensor result(DType::kF32, {5, 24});
    device->copy_to_host(result.view().data, (*out)->data(), result.view().bytes(), {});
    device->synchronize({});
    return result;
  };
  const HostTensor first = random.tensor(DType::kF32, {5, 64});
  const HostTensor second = random.tensor(DType::kF32, {5, 64});
  const HostTensor wanted_first = result_of(first, [&] { device->linear(args, {}); });
  const HostTensor wanted_second = result_of(second, [&] { device->linear(args, {}); });

  ASSERT_TRUE(device->begin_recording({}).ok());
  device->linear(args, {});
  const auto work = device->end_recording({});
  ASSERT_TRUE(work.ok()) << work.error().message;
  const HostTensor got_first = result_of(first, [&] { EXPECT_TRUE(device->replay(**work, {})); });
  const HostTensor got_second = result_of(second, [&] { EXPECT_TRUE(device->replay(**work, {})); });
  expect_same_bits(got_first.view(), wanted_first.view(), "first");
  expect_same_bits(got_second.view(), wanted_second.view(), "second");

  // A wider input moves the scratch that the recorded conversion wrote to.
  const auto wide = pack(device.get(), random.tensor(DType::kBF16, {8, 640}, 0.2f).view());
  auto wide_x = device->allocate(40 * 640 * sizeof(float));
  auto wide_out = device->allocate(40 * 8 * sizeof(float));
  ASSERT_TRUE(wide_x.ok() && wide_out.ok());
  device->linear({.x = TensorView((*wide_x)->data(), DType::kF32, {40, 640}),
                  .weight = wide.get(),
                  .out = TensorView((*wide_out)->data(), DType::kF32, {40, 8})},
                 {});
  EXPECT_FALSE(device->replay(**work, {}));
}

}  // namespace
}  // namespace trireme::kernels::testing
