// A request's tokens and logits do not depend on its company, the cut of its prompt, a preemption
// or a cached prefix.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;

struct Setting {
  const char* name;
  int tp;
  int pp;
  ComputeDType compute;
  const char* model = "llama3";
  bool e4m3_kv = false;
};

const Setting kSettings[] = {
    {"tp1_f32", 1, 1, ComputeDType::kF32},
    {"tp1_bf16", 1, 1, ComputeDType::kBF16},
    {"tp2_pp2_bf16", 2, 2, ComputeDType::kBF16},
    {"tp4_f32", 4, 1, ComputeDType::kF32},
    // Latent attention, and experts.
    {"deepseek_tp1_f32", 1, 1, ComputeDType::kF32, "deepseek_v3"},
    {"deepseek_tp2_pp2_bf16", 2, 2, ComputeDType::kBF16, "deepseek_v3"},
    {"experts_tp2_bf16", 2, 1, ComputeDType::kBF16, "mixtral"},
    {"experts_sinks_windows_tp2_pp2_bf16", 2, 2, ComputeDType::kBF16, "gpt_oss"},
    {"experts_chunks_tp1_f32", 1, 1, ComputeDType::kF32, "llama4"},
    // Keys and values of a byte each.
    {"tp1_f32_e4m3_kv", 1, 1, ComputeDType::kF32, "llama3", true},
    {"tp2_pp2_bf16_e4m3_kv", 2, 2, ComputeDType::kBF16, "llama3", true},
    {"deepseek_tp2_bf16_e4m3_kv", 2, 1, ComputeDType::kBF16, "deepseek_v3", true},
    {"sinks_windows_tp1_f32_e4m3_kv", 1, 1, ComputeDType::kF32, "gpt_oss", true},
};

class Invariance : public testing::TestWithParam<Setting> {
 protected:
  Invariance()
      : replica_({.model_dir = golden_dir(GetParam().model),
                  .tp = GetParam().tp,
                  .pp = GetParam().pp,
                  .compute = GetParam().compute,
                  .e4m3_kv = GetParam().e4m3_kv,
                  .max_step_tokens = 256,
                  .n_blocks = 1024}) {}

  TestReplica replica_;
};

// Greedy, seeded sampling, filters and penalties among 32 requests of different lengths.
std::vector<TestSequence> requests() {
  std::vector<TestSequence> sequences;
  for (uint64_t i = 0; i < 32; ++i) {
    TestSequence sequence;
    sequence.prompt = make_prompt(static_cast<int>(1 + i * 5 % 90), i, 512);
    sequence.n_new = 8;
    step::SamplingParams& sampling = sequence.sampling;
    sampling.seed = i;
    sampling.temperature = i % 3 == 0 ? 0.0f : 0.9f;
    if (i % 4 == 1) sampling.top_p = 0.8f;
    if (i % 4 == 2) sampling.top_k = 20;
    if (i % 5 == 2) sampling.frequency_penalty = 0.7f;
    if (i % 7 == 2) sampling.repetition_penalty = 1.3f;
    sequences.push_back(sequence);
  }
  return sequences;
}

// Bit for bit.
void expect_same(const Generated& a, const Generated& b, size_t skip_rows_of_b = 0) {
  EXPECT_EQ(a.tokens, b.tokens);
  ASSERT_EQ(a.logits.size(), b.logits.size() - skip_rows_of_b);
  for (size_t i = 0; i < a.logits.size(); ++i) {
    const auto& row = b.logits[i + skip_rows_of_b];
    ASSERT_EQ(a.logits[i].size(), row.size());
    EXPECT_EQ(std::memcmp(a.logits[i].data(), row.data(), row.size() * sizeof(float)), 0)
        << "row " << i;
  }
}

TEST_P(Invariance, AloneOrInABatchOf32) {
  const auto sequences = requests();
  const auto together = generate(replica_, sequences);
  for (const size_t i : {0u, 1u, 2u, 7u, 17u, 30u, 31u}) {
    SCOPED_TRACE("request " + std::to_string(i));
    expect_same(generate(replica_, {sequences[i]})[0], together[i]);
  }
}

// Logits that stay with the backend, as on a device, or are read by the host.
TEST_P(Invariance, ScannedByTheBackendOrByTheHost) {
  TestReplica scanned({.model_dir = golden_dir(GetParam().model),
                       .tp = GetParam().tp,
                       .pp = GetParam().pp,
                       .compute = GetParam().compute,
                       .e4m3_kv = GetParam().e4m3_kv,
                       .max_step_tokens = 256,
                       .n_blocks = 1024,
                       .scan_on_device = true});
  const auto sequences = requests();
  const auto by_host = generate(replica_, sequences);
  const auto by_backend = generate(scanned, sequences);
  for (size_t i = 0; i < sequences.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    expect_same(by_backend[i], by_host[i]);
  }
  expect_same(generate(scanned, {sequences[17]})[0], by_host[17]);
}

TEST_P(Invariance, ChunksOf1And7And64) {
  std::vector<TestSequence> sequences;
  for (const uint64_t i : {9u, 17u, 14u}) {
    TestSequence sequence = requests()[i];
    sequence.prompt = make_prompt(130, i, 512);
    sequence.prompt_logprobs = true;
    sequences.push_back(sequence);
  }
  for (const TestSequence& sequence : sequences) {
    const Generated whole = generate(replica_, {sequence})[0];
    EXPECT_EQ(whole.prompt_logprobs.size(), sequence.prompt.size() - 1);
    for (const int chunk : {1, 7, 64}) {
      SCOPED_TRACE("chunk " + std::to_string(chunk));
      expect_same(generate(replica_, {sequence}, chunk)[0], whole);
    }
  }
}

// As a pipelined coordinator sends them: no chunk waits for the result of the one before it.
TEST_P(Invariance, ChunksThatAreAllInFlightAtOnce) {
  const std::vector<int32_t> prompt = make_prompt(90, 3, 512);
  step::SamplingParams sampling = greedy_sampling();
  sampling.n_logprobs = 3;
  const auto n_groups = static_cast<int32_t>(replica_.kv_layout().groups.size());
  int32_t next_block = 0;
  const auto run = [&](uint64_t id, int32_t chunk) {
    std::vector<step::StepPlan> plans;
    for (int32_t first = 0; first < 90; first += chunk) {
      step::StepPlan& plan = plans.emplace_back();
      const int32_t n = std::min(chunk, 90 - first);
      step::SequenceSpan span{.id = SequenceId(id), .first_position = first, .n_tokens = n};
      if (first == 0) {
        plan.starts.push_back({SequenceId(id), prompt, 90, sampling});
        for (int32_t i = 0; i < 6 * n_groups; ++i) span.new_blocks.emplace_back(next_block++);
        if (n_groups > 1) plan.n_group_blocks.assign(static_cast<size_t>(n_groups), 6);
      }
      span.sample = first + n == 90;
      plan.spans.push_back(std::move(span));
    }
    const auto results = replica_.run_all(std::move(plans));
    for (size_t i = 0; i + 1 < results.size(); ++i) EXPECT_TRUE(results[i].outputs.empty());
    return results.back().outputs.at(0);
  };
  const step::SequenceOutput whole = run(1, 90);
  for (const int32_t chunk : {7, 16, 64}) {
    const step::SequenceOutput cut = run(static_cast<uint64_t>(chunk), chunk);
    EXPECT_EQ(cut.token, whole.token);
    EXPECT_EQ(cut.logprobs.at(0).actual.logprob, whole.logprobs.at(0).actual.logprob);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(cut.logprobs.at(0).top.at(i).logprob, whole.logprobs.at(0).top.at(i).logprob);
    }
  }
}

TEST_P(Invariance, PreemptedAndRecomputed) {
  for (const uint64_t i : {3u, 17u, 22u, 16u}) {
    const TestSequence sequence = requests()[i];
    const Generated whole = generate(replica_, {sequence})[0];
    constexpr int kBefore = 3;
    TestSequence again = sequence;
    again.n_prompt = static_cast<int32_t>(sequence.prompt.size());
    again.prompt.insert(again.prompt.end(), whole.tokens.begin(), whole.tokens.begin() + kBefore);
    again.n_new = sequence.n_new - kBefore;
    const Generated rest = generate(replica_, {again}, 7)[0];
    EXPECT_EQ(rest.tokens,
              std::vector<int32_t>(whole.tokens.begin() + kBefore, whole.tokens.end()));
    expect_same({.tokens = rest.tokens, .logits = rest.logits},
                {.tokens = rest.tokens, .logits = whole.logits}, kBefore);
  }
}

TEST_P(Invariance, ACachedPrefixIsAsGoodAsAComputedOne) {
  const std::vector<int32_t> prompt = make_prompt(40, 5, 512);
  const std::vector<plan::KvGroup>& groups = replica_.kv_layout().groups;
  // Each group of layers has three blocks of its own, and is told those that the first row sees.
  const auto plan_of = [&](uint64_t id, int32_t first, const std::vector<int32_t>& of_first_group) {
    step::StepPlan plan;
    std::vector<BlockId> blocks;
    for (size_t g = 0; g < groups.size(); ++g) {
      const int32_t seen = groups[g].first_visible(first) / 16;
      for (size_t i = static_cast<size_t>(seen); i < of_first_group.size(); ++i) {
        blocks.emplace_back(of_first_group[i] + 20 * static_cast<int32_t>(g));
      }
      if (groups.size() > 1) plan.n_group_blocks.push_back(3 - seen);
    }
    plan.starts.push_back({SequenceId(id), prompt, 40, greedy_sampling()});
    plan.spans.push_back({.id = SequenceId(id),
                          .first_position = first,
                          .n_tokens = 40 - first,
                          .new_blocks = std::move(blocks),
                          .sample = true});
    return plan;
  };
  replica_.run(plan_of(100, 0, {9, 4, 700}));
  const auto computed = replica_.logits();
  // The second sequence shares the two full blocks and computes the rest into a block of its own.
  replica_.run(plan_of(101, 32, {9, 4, 3}));
  EXPECT_EQ(replica_.logits(), computed);
}

INSTANTIATE_TEST_SUITE_P(Settings, Invariance, testing::ValuesIn(kSettings),
                         [](const testing::TestParamInfo<Setting>& test) {
                           return std::string(test.param.name);
                         });

}  // namespace
}  // namespace trireme::worker
