#include <gtest/gtest.h>

#include "tests/ops/kernels/attention_fixture.h"

namespace trireme::kernels::testing {
namespace {

constexpr AttentionShape kShapes[] = {
    {4, 4, 12, 16}, {6, 2, 24, 32}, {8, 1, 32, 16},   {4, 2, 33, 48},
    {4, 2, 64, 64}, {5, 5, 80, 16}, {12, 4, 128, 32}, {2, 1, 1, 16},
};

class AttentionTest : public EachIsa {};

TEST_P(AttentionTest, AgreesWithTheReference) {
  uint32_t seed = 31;
  for (const AttentionShape& shape : kShapes) {
    for (const DType cache : {DType::kF32, DType::kF16, DType::kBF16}) {
      // A prefill, a decode row, a chunk in the middle, a sequence without queries, one key alone,
      // a tile's edge.
      const PagedSequences sequences(shape, cache, {70, 131, 100, 20, 1, 64}, ++seed);
      const std::vector<PagedSequences::Span> spans = {{0, 0, 70},  {1, 130, 131}, {2, 37, 90},
                                                       {3, 20, 20}, {4, 0, 1},     {5, 63, 64}};
      for (const DType out : {DType::kF32, DType::kBF16}) {
        const HostTensor actual = sequences.attend(cpu_.get(), spans, out);
        const HostTensor expected = sequences.attend(reference_.get(), spans, out);
        expect_near(actual, expected, 3e-6f, "head_dim " + std::to_string(shape.head_dim));
      }
    }
  }
}

TEST_P(AttentionTest, NoQueriesAtAllIsNoWork) {
  const PagedSequences sequences({4, 2, 32, 16}, DType::kF32, {20}, 5);
  EXPECT_EQ(sequences.attend(cpu_.get(), {}, DType::kF32).view().numel(), 0);
  EXPECT_EQ(sequences.attend(cpu_.get(), {{0, 9, 9}}, DType::kF32).view().numel(), 0);
}

// Queries that are far larger than usual make the running maximum jump from tile to tile.
TEST_P(AttentionTest, SharpSoftmaxKeepsItsAccuracy) {
  Random random(41);
  HostTensor q = random.tensor(DType::kF32, {1, 1, 64}, 40);
  const HostTensor k = random.tensor(DType::kF32, {5, 1, 64, 64});
  const HostTensor v = random.tensor(DType::kF32, {5, 1, 64, 64});
  const HostTensor table = [] {
    HostTensor t(DType::kI32, {1, 5});
    for (int i = 0; i < 5; ++i) t.view().as<int32_t>()[i] = 4 - i;
    return t;
  }();
  const HostTensor start = tensor_of<int32_t>({0, 1});
  const HostTensor context = tensor_of<int32_t>({300});
  HostTensor actual(DType::kF32, {1, 1, 64});
  HostTensor expected(DType::kF32, {1, 1, 64});
  PagedAttentionArgs args{q.view(),     k.view(),       v.view(), table.view(),
                          start.view(), context.view(), 0.125f,   actual.view()};
  cpu_->paged_attention(args, {});
  args.out = expected.view();
  reference_->paged_attention(args, {});
  expect_near(actual, expected, 2e-4f, "sharp softmax");
}

INSTANTIATE_TEST_SUITE_P(Isa, AttentionTest, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
