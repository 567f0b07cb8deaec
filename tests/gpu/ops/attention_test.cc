#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/agreement.h"
#include "tests/ops/kernels/attention_fixture.h"

namespace trireme::kernels::testing {
namespace {

using DeviceAttention = DeviceTest;

// A prefill, a decode row, a chunk in the middle, a sequence without queries, one key alone, a
// tile's edge.
const std::vector<int64_t> kLengths = {70, 131, 100, 20, 1, 64};
const std::vector<PagedSequences::Span> kMixed = {{0, 0, 70},  {1, 130, 131}, {2, 37, 90},
                                                  {3, 20, 20}, {4, 0, 1},     {5, 63, 64}};

TEST_F(DeviceAttention, PlainAgreesWithTheReference) {
  constexpr AttentionShape kShapes[] = {{4, 4, 12, 16}, {6, 2, 24, 32}, {8, 1, 32, 16},
                                        {4, 2, 33, 48}, {4, 2, 64, 64}, {5, 5, 80, 16},
                                        {2, 1, 1, 16},  {40, 2, 20, 16}};
  uint32_t seed = 31;
  for (const AttentionShape& shape : kShapes) {
    for (const DType cache : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
      const PagedSequences sequences(shape, cache, kLengths, ++seed);
      for (const DType out : {DType::kF32, DType::kBF16}) {
        const HostTensor actual = sequences.attend(f32_.get(), kMixed, out);
        const HostTensor expected = sequences.attend(reference_.get(), kMixed, out);
        expect_near(actual, expected, 5e-6f, "head_dim " + std::to_string(shape.head_dim));
      }
    }
  }
}

// Queries and weights are rounded to bf16 on the tensor cores: half a unit in the last of 8 bits of
// each, on values of about one.
constexpr float kMmaTolerance = 0.02f;

TEST_F(DeviceAttention, TensorCoresAgreeWithTheReference) {
  constexpr AttentionShape kShapes[] = {{4, 4, 64, 16},   {8, 2, 128, 32}, {6, 2, 64, 64},
                                        {16, 1, 128, 16}, {7, 1, 64, 16},  {40, 2, 128, 48}};
  uint32_t seed = 51;
  for (const AttentionShape& shape : kShapes) {
    for (const DType cache : {DType::kBF16, DType::kE4M3}) {
      const PagedSequences sequences(shape, cache, kLengths, ++seed);
      for (const DType out : {DType::kF32, DType::kBF16}) {
        const HostTensor actual = sequences.attend(bf16_.get(), kMixed, out);
        const HostTensor expected = sequences.attend(reference_.get(), kMixed, out);
        expect_near(actual, expected, kMmaTolerance,
                    "head_dim " + std::to_string(shape.head_dim) + " heads " +
                        std::to_string(shape.n_heads));
      }
    }
  }
}

// Decode rows alone, far apart in length, so that keys are split over blocks.
TEST_F(DeviceAttention, SplitKeysComeTogether) {
  for (const auto& [head_dim, cache] :
       {std::pair<int64_t, DType>{64, DType::kBF16}, {128, DType::kBF16}, {128, DType::kE4M3}}) {
    const PagedSequences sequences({8, 2, head_dim, 16}, cache, {1500, 700, 33}, 71);
    const std::vector<PagedSequences::Span> decode = {{0, 1499, 1500}, {1, 699, 700}, {2, 32, 33}};
    const HostTensor expected = sequences.attend(reference_.get(), decode, DType::kF32);
    expect_near(sequences.attend(bf16_.get(), decode, DType::kF32), expected, kMmaTolerance, "mma");
    expect_near(sequences.attend(f32_.get(), decode, DType::kF32), expected, 5e-6f, "plain");
  }
}

// Long queries alone: every warp has rows of its own.
TEST_F(DeviceAttention, PrefillHasRowsOfItsOwnPerWarp) {
  for (const DType cache : {DType::kBF16, DType::kE4M3}) {
    const PagedSequences sequences({8, 2, 128, 32}, cache, {150, 90}, 81);
    const std::vector<PagedSequences::Span> prefill = {{0, 3, 150}, {1, 0, 90}};
    const HostTensor actual = sequences.attend(bf16_.get(), prefill, DType::kBF16);
    const HostTensor expected = sequences.attend(reference_.get(), prefill, DType::kBF16);
    expect_near(actual, expected, kMmaTolerance, "prefill");
  }
}

// Windows, chunks, soft caps and sinks, on both kernels, with few keys and with keys split over
// blocks.
TEST_F(DeviceAttention, RulesBeyondCausality) {
  const std::vector<float> sinks = {0.5f, -1.0f, 3.0f, 0.0f, 1.5f, -4.0f};
  const AttentionRules kRules[] = {{.window = 33},   {.causal = false},
                                   {.chunk = 48},    {.softcap = 2},
                                   {.sinks = sinks}, {.window = 300, .softcap = 5, .sinks = sinks}};
  const std::vector<PagedSequences::Span> spans = {{0, 899, 900}, {1, 60, 131}, {2, 99, 100}};
  for (const DType cache : {DType::kBF16, DType::kE4M3}) {
    const PagedSequences sequences({6, 2, 64, 16}, cache, {900, 131, 100}, 91);
    for (const AttentionRules& rules : kRules) {
      const HostTensor expected = sequences.attend(reference_.get(), spans, DType::kF32, rules);
      expect_near(sequences.attend(f32_.get(), spans, DType::kF32, rules), expected, 1e-5f,
                  "plain");
      expect_near(sequences.attend(bf16_.get(), spans, DType::kF32, rules), expected, kMmaTolerance,
                  "mma");
    }
  }
}

TEST_F(DeviceAttention, NoQueriesAtAllIsNoWork) {
  const PagedSequences sequences({4, 2, 32, 16}, DType::kF32, {20}, 5);
  EXPECT_EQ(sequences.attend(f32_.get(), {}, DType::kF32).view().numel(), 0);
  EXPECT_EQ(sequences.attend(f32_.get(), {{0, 9, 9}}, DType::kF32).view().numel(), 0);
}

TEST_F(DeviceAttention, SharpSoftmaxKeepsItsAccuracy) {
  expect_sharp_softmax_agrees({f32_.get(), reference_.get(), 2e-4f});
}

}  // namespace
}  // namespace trireme::kernels::testing
