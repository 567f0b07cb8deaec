// A rank on a device hears its next plan while the device works, and tells of a step when the next
// one is on its way: plans that are sent ahead of their tokens give what plans one by one give.
#include <gtest/gtest.h>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

constexpr int32_t kPromptTokens = 19;
constexpr int kSteps = 12;  // up to the end of the second block

step::StepPlan prompt_plan(bool draws) {
  step::StepPlan plan;
  step::SamplingParams sampling = greedy_sampling();
  if (draws) {
    sampling.temperature = 0.8f;
    sampling.seed = 7;
    sampling.presence_penalty = 0.5f;
  }
  plan.starts.push_back(
      {SequenceId(1), make_prompt(kPromptTokens, 3, 512), kPromptTokens, sampling});
  plan.spans.push_back({.id = SequenceId(1),
                        .n_tokens = kPromptTokens,
                        .new_blocks = {BlockId(0), BlockId(1)},
                        .sample = true});
  return plan;
}

step::StepPlan decode_plan(int i, int32_t token) {
  step::StepPlan plan;
  plan.spans.push_back({.id = SequenceId(1),
                        .first_position = kPromptTokens + i,
                        .n_tokens = 1,
                        .token = token,
                        .sample = true});
  return plan;
}

class StepsAhead : public DeviceReplicaTest {};

std::vector<int32_t> one_by_one(TestReplica& replica, bool draws) {
  std::vector<int32_t> tokens;
  tokens.push_back(replica.run(prompt_plan(draws)).outputs[0].token);
  for (int i = 0; i < kSteps; ++i) {
    tokens.push_back(replica.run(decode_plan(i, tokens.back())).outputs[0].token);
  }
  return tokens;
}

std::vector<int32_t> ahead(TestReplica& replica, bool draws) {
  std::vector<step::StepPlan> plans = {prompt_plan(draws)};
  for (int i = 0; i < kSteps; ++i) plans.push_back(decode_plan(i, step::kSampledToken));
  std::vector<int32_t> tokens;
  for (const step::StepResult& result : replica.run_all(std::move(plans))) {
    tokens.push_back(result.outputs[0].token);
  }
  return tokens;
}

TEST_F(StepsAhead, OnADeviceGiveWhatStepsOneByOneGive) {
  for (const bool draws : {false, true}) {
    const ReplicaOptions options{.model_dir = golden_dir("llama"),
                                 .make_backend = make_device,
                                 .compute = kernels::ComputeDType::kBF16};
    TestReplica first(options);
    TestReplica second(options);
    const auto want = one_by_one(first, draws);
    EXPECT_EQ(ahead(second, draws), want);
    EXPECT_GT(second.n_graphs(), 0);
  }
}

// The result of the step before is told, and then of the failure.
TEST_F(StepsAhead, OnADeviceAResultIsNotLostWithTheNextPlan) {
  TestReplica replica({.model_dir = golden_dir("llama"),
                       .make_backend = make_device,
                       .compute = kernels::ComputeDType::kBF16});
  EXPECT_EQ(
      replica.n_results_before_failure({prompt_plan(false), decode_plan(0, step::kSampledToken),
                                        decode_plan(5, step::kSampledToken)}),
      2);
}

}  // namespace
}  // namespace trireme::worker
