// A row's result never depends on the other rows, on the cut into chunks or on the number of
// threads: bit for bit.
#include <gtest/gtest.h>

#include "tests/ops/kernels/attention_fixture.h"

namespace trireme::kernels::testing {
namespace {

class InvarianceTest : public EachIsa {};

TEST_P(InvarianceTest, LinearRowsDoNotKnowTheirBatch) {
  Random random(51);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    const auto backend = cpu_backend(GetParam(), compute);
    for (const DType weight_dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      const HostTensor x = random.tensor(DType::kF32, {300, 1301});
      const auto weight =
          pack(backend.get(), random.tensor(weight_dtype, {130, 1301}, 0.1f).view());
      const HostTensor whole = multiply(backend.get(), x.view(), *weight);
      for (const int64_t n : {1, 2, 3, 4, 5, 6, 7, 11, 32, 65, 299}) {
        for (int64_t begin = 0; begin + n <= 300; begin += n > 7 ? n : 41) {
          const HostTensor part = multiply(backend.get(), x.view().rows(begin, begin + n), *weight);
          expect_same_bits(part.view(), whole.view().rows(begin, begin + n),
                           std::to_string(n) + " rows from " + std::to_string(begin));
        }
      }
    }
  }
}

TEST_P(InvarianceTest, AttentionDoesNotKnowItsChunks) {
  for (const AttentionShape& shape :
       {AttentionShape{8, 2, 64, 16}, AttentionShape{3, 3, 24, 32}, AttentionShape{4, 1, 128, 64},
        AttentionShape{2, 1, 33, 16}}) {
    for (const DType cache : {DType::kF32, DType::kBF16, DType::kE4M3}) {
      const int64_t length = 203;
      const PagedSequences sequences(shape, cache, {length, 90}, 61);
      const HostTensor whole = sequences.attend(cpu_.get(), {{0, 0, length}}, DType::kF32);
      for (const int64_t chunk : {1, 7, 64}) {
        for (int64_t begin = 0; begin < length; begin += chunk) {
          const int64_t end = std::min(begin + chunk, length);
          // Beside another sequence, on either side of it.
          const HostTensor part = sequences.attend(
              cpu_.get(), {{1, 80, 90}, {0, begin, end}, {1, 89, 90}}, DType::kF32);
          expect_same_bits(part.view().rows(10, 10 + end - begin), whole.view().rows(begin, end),
                           "chunk of " + std::to_string(chunk) + " at " + std::to_string(begin));
        }
      }
    }
  }
}

TEST_P(InvarianceTest, WindowsDoNotKnowTheirChunks) {
  const std::vector<float> sinks = {1, -2, 0.5f, 3};
  for (const AttentionRules& rules : {AttentionRules{.window = 50, .softcap = 3, .sinks = sinks},
                                      AttentionRules{.window = 130}, AttentionRules{.chunk = 70}}) {
    for (const DType cache : {DType::kF32, DType::kBF16, DType::kE4M3}) {
      const int64_t length = 303;
      const PagedSequences sequences({4, 2, 64, 16}, cache, {length, 90}, 62);
      const HostTensor whole = sequences.attend(cpu_.get(), {{0, 0, length}}, DType::kF32, rules);
      for (const int64_t chunk : {1, 37}) {
        for (int64_t begin = 0; begin < length; begin += chunk) {
          const int64_t end = std::min(begin + chunk, length);
          const HostTensor part =
              sequences.attend(cpu_.get(), {{1, 80, 90}, {0, begin, end}}, DType::kF32, rules);
          expect_same_bits(part.view().rows(10, 10 + end - begin), whole.view().rows(begin, end),
                           "chunk of " + std::to_string(chunk) + " at " + std::to_string(begin));
        }
      }
    }
  }
}

TEST_P(InvarianceTest, ThreadsDoNotChangeABit) {
  Random random(71);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    const auto one = cpu_backend(GetParam(), compute, 1);
    const HostTensor x = random.tensor(DType::kF32, {300, 520});
    const HostTensor w = random.tensor(DType::kBF16, {2100, 520}, 0.1f);
    const HostTensor norm = random.tensor(DType::kF32, {520});
    const PagedSequences sequences({8, 4, 64, 32}, DType::kBF16, {300, 129, 77}, 72);
    const PagedSequences codes({8, 4, 64, 32}, DType::kE4M3, {300, 129, 77}, 73);
    const std::vector<PagedSequences::Span> spans = {{0, 0, 300}, {1, 128, 129}, {2, 10, 77}};
    const auto results = [&](Backend* backend) {
      std::vector<HostTensor> all;
      const auto weight = pack(backend, w.view());
      for (const int64_t n : {1, 5, 300}) {
        all.push_back(multiply(backend, x.view().rows(0, n), *weight, {}, DType::kBF16));
      }
      all.push_back(sequences.attend(backend, spans, DType::kF32));
      all.push_back(codes.attend(backend, spans, DType::kF32));
      all.emplace_back(DType::kF32, std::initializer_list<int64_t>{300, 520});
      backend->rms_norm({x.view(), norm.view(), 1e-5f, all.back().view()}, {});
      all.emplace_back(DType::kF32, std::initializer_list<int64_t>{300, 260});
      backend->gated_activation({.gate_up = x.view(), .out = all.back().view()}, {});
      return all;
    };
    const std::vector<HostTensor> expected = results(one.get());
    for (const int n_threads : {2, 3}) {
      const auto several = cpu_backend(GetParam(), compute, n_threads);
      const std::vector<HostTensor> actual = results(several.get());
      for (size_t i = 0; i < expected.size(); ++i) {
        expect_same_bits(
            actual[i].view(), expected[i].view(),
            "result " + std::to_string(i) + " with " + std::to_string(n_threads) + " threads");
      }
    }
  }
}

TEST_P(InvarianceTest, RowOpsDoNotKnowTheirBatch) {
  Random random(81);
  const HostTensor x = random.tensor(DType::kF32, {100, 777});
  const HostTensor norm = random.tensor(DType::kF32, {777});
  HostTensor whole(DType::kBF16, {100, 777});
  HostTensor max(DType::kF32, {100});
  HostTensor sum(DType::kF32, {100});
  cpu_->rms_norm({x.view(), norm.view(), 1e-5f, whole.view()}, {});
  cpu_->row_max_log_sum_exp({x.view(), max.view(), sum.view()}, {});
  for (int64_t i = 0; i < 100; ++i) {
    HostTensor one(DType::kBF16, {1, 777});
    HostTensor one_max(DType::kF32, {1});
    HostTensor one_sum(DType::kF32, {1});
    cpu_->rms_norm({x.view().rows(i, i + 1), norm.view(), 1e-5f, one.view()}, {});
    cpu_->row_max_log_sum_exp({x.view().rows(i, i + 1), one_max.view(), one_sum.view()}, {});
    expect_same_bits(one.view(), whole.view().rows(i, i + 1), "rms_norm");
    EXPECT_EQ(one_sum.at(0), sum.at(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, InvarianceTest, ::testing::ValuesIn(isas_of_this_machine()),
                         isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
