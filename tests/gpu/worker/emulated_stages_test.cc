// Stages of a pipeline on the emulator, whose memory the groups of threads reach: hidden states are
// sent aside, and steps that follow each other do not write over what is still on its way.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

constexpr uint64_t kSequences = 6;

ReplicaOptions options(int tp, int pp, bool in_parts) {
  return {.model_dir = golden_dir("llama"),
          .tp = tp,
          .pp = pp,
          .make_backend = make_device,
          .compute = kernels::ComputeDType::kBF16,
          .machine_per_stage = in_parts};
}

// Of one to six rows: what is sent differs in size from step to step.
step::StepPlan prompt_plan(uint64_t i) {
  const auto n = static_cast<int32_t>(1 + i);
  step::StepPlan plan;
  plan.starts.push_back({SequenceId(1 + i), make_prompt(n, i, 512), n, greedy_sampling()});
  plan.spans.push_back({.id = SequenceId(1 + i),
                        .n_tokens = n,
                        .new_blocks = {BlockId(static_cast<int32_t>(i))},
                        .sample = true});
  return plan;
}

step::StepPlan decode_plan(uint64_t i, int32_t position, int32_t token) {
  step::StepPlan plan;
  plan.spans.push_back({.id = SequenceId(1 + i),
                        .first_position = position,
                        .n_tokens = 1,
                        .token = token,
                        .sample = true});
  return plan;
}

// Prompts, then three decode steps of each, a plan behind the other or all of a round at once.
std::vector<int32_t> tokens_of(TestReplica& replica, bool at_once) {
  std::vector<int32_t> tokens;
  std::vector<int32_t> last(kSequences, 0);
  for (int32_t round = 0; round < 4; ++round) {
    std::vector<step::StepPlan> plans;
    for (uint64_t i = 0; i < kSequences; ++i) {
      const auto n_prompt = static_cast<int32_t>(1 + i);
      plans.push_back(round == 0 ? prompt_plan(i) : decode_plan(i, n_prompt + round - 1, last[i]));
    }
    std::vector<step::StepResult> results;
    if (at_once) {
      results = replica.run_all(std::move(plans));
    } else {
      for (step::StepPlan& plan : plans) results.push_back(replica.run(std::move(plan)));
    }
    for (uint64_t i = 0; i < kSequences; ++i) {
      last[i] = results[i].outputs[0].token;
      tokens.push_back(last[i]);
    }
  }
  return tokens;
}

TEST(EmulatedStages, PlansInFlightGiveWhatPlansOneByOneGive) {
  TestReplica whole(options(1, 1, false));
  const std::vector<int32_t> want = tokens_of(whole, false);
  for (const auto& [tp, pp, in_parts] :
       {std::tuple{1, 2, false}, {1, 4, false}, {2, 2, false}, {2, 2, true}}) {
    SCOPED_TRACE(fmt::format("tp {} pp {}{}", tp, pp, in_parts ? " in parts" : ""));
    TestReplica replica(options(tp, pp, in_parts));
    EXPECT_EQ(tokens_of(replica, true), want);
  }
}

}  // namespace
}  // namespace trireme::worker
