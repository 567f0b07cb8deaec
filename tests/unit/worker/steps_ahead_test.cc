// Steps that begin before the one before is finished give what steps one by one give, whatever is
// sampled, and whatever the device guessed. On the CPU, where every guess is at once there.
#include "tests/unit/worker/steps_ahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/unit/worker/forwarding_backend.h"
#include "tests/unit/worker/golden.h"

namespace trireme::worker {
namespace {

std::vector<AheadRequest> simple_requests() {
  std::vector<AheadRequest> requests(6);
  requests[0].sampling = greedy_sampling();
  requests[1].sampling = drawn(0.8f, 7);
  requests[2].sampling = drawn(0.7f, 8);
  requests[2].sampling.top_p = 0.5f;
  requests[3].sampling = drawn(1.2f, 9);
  requests[3].sampling.top_k = 5;
  requests[4].sampling = drawn(1, 10);
  requests[4].sampling.min_p = 0.2f;
  requests[4].sampling.top_p = 0.9f;
  requests[5].sampling = greedy_sampling();
  // One comes while the others decode, in parts; one is cancelled on its way.
  requests[5].first_step = 4;
  requests[5].prompt_steps = 3;
  requests[3].release_step = 7;
  return requests;
}

struct Ranks {
  int tp;
  bool host_groups;
};

class StepsAheadOnHosts : public testing::TestWithParam<Ranks> {
 protected:
  ReplicaOptions options() const {
    return {.model_dir = golden_dir("llama"),
            .tp = GetParam().tp,
            .scan_on_device = true,
            .steps_ahead = true,
            .host_groups = GetParam().host_groups};
  }
};

TEST_P(StepsAheadOnHosts, GiveWhatStepsOneByOneGive) {
  TestReplica plain({.model_dir = golden_dir("llama"), .tp = GetParam().tp});
  TestReplica ahead(options());
  const AheadOutputs want = run_one_by_one(plain, simple_requests());
  EXPECT_EQ(run_ahead(ahead, simple_requests()), want);
  EXPECT_EQ(plain.n_ahead(), 0);
  EXPECT_GT(ahead.n_ahead(), 8 * GetParam().tp);
  EXPECT_EQ(ahead.n_redone(), 0);
}

// A step with a row that the host must read is finished before the next begins.
TEST_P(StepsAheadOnHosts, WaitForRowsWithRulesAndProbabilities) {
  for (const bool rules : {false, true}) {
    std::vector<AheadRequest> requests = simple_requests();
    if (rules) {
      requests[1].sampling.presence_penalty = 0.5f;
    } else {
      requests[1].sampling.n_logprobs = 2;
    }
    requests[1].n_outputs = 5;
    TestReplica plain({.model_dir = golden_dir("llama"), .tp = GetParam().tp});
    TestReplica ahead(options());
    EXPECT_EQ(run_ahead(ahead, requests), run_one_by_one(plain, requests));
    EXPECT_GT(ahead.n_ahead(), 0);
    EXPECT_LE(ahead.n_ahead(), 13 * GetParam().tp) << "of 19 steps none up to the fifth";
  }
}

// So flat a distribution that the candidates do not hold what top_p keeps: the logits are needed
// after the next step took their place.
TEST_P(StepsAheadOnHosts, DecideByLogitsThatWereKept) {
  std::vector<AheadRequest> requests = simple_requests();
  requests[2].sampling = drawn(50, 8);
  requests[2].sampling.top_p = 0.97f;
  TestReplica plain({.model_dir = golden_dir("llama"), .tp = GetParam().tp});
  TestReplica ahead(options());
  EXPECT_EQ(run_ahead(ahead, requests), run_one_by_one(plain, requests));
  EXPECT_GT(ahead.n_ahead(), 0);
}

// The next plan gives the blocks of a sequence away while the last of its tokens is not decided.
TEST_P(StepsAheadOnHosts, DecideWhenTheBlocksAreAnothersAlready) {
  for (const uint64_t seed : {8u, 21u, 34u}) {
    std::vector<AheadRequest> requests(3);
    requests[0].sampling = drawn(50, seed);
    requests[0].sampling.top_p = 0.97f;
    requests[0].n_outputs = 1;
    requests[1].sampling = greedy_sampling();
    requests[2].sampling = greedy_sampling();
    requests[2].first_step = 1;
    requests[2].blocks_of = 0;
    TestReplica plain({.model_dir = golden_dir("llama"), .tp = GetParam().tp});
    TestReplica ahead(options());
    EXPECT_EQ(run_ahead(ahead, requests), run_one_by_one(plain, requests));
    EXPECT_GT(ahead.n_ahead(), 0);
  }
}

// Tells the device other tokens than the best, now and then.
class WrongGuesses final : public ForwardingBackend {
 public:
  WrongGuesses(std::unique_ptr<kernels::Backend> inner, int from_call)
      : ForwardingBackend(std::move(inner)), from_call_(from_call) {}
  void best_tokens(const kernels::BestTokensArgs& args, kernels::Stream stream) override {
    inner_->best_tokens(args, stream);
    if (++n_calls_ != from_call_) return;
    for (int64_t i = 0; i < args.rows.dim(0); ++i) {
      int32_t& token = args.tokens.as<int32_t>()[args.rows.as<int32_t>()[i]];
      token = (token + 1) % 512;
    }
  }

 private:
  int from_call_;
  int n_calls_ = 0;
};

TEST_P(StepsAheadOnHosts, DoAStepAgainThatBeganWithAWrongGuess) {
  TestReplica plain({.model_dir = golden_dir("llama"), .tp = GetParam().tp});
  const AheadOutputs want = run_one_by_one(plain, simple_requests());
  for (const int call : {1, 2, 7}) {
    ReplicaOptions wrong = options();
    wrong.wrap_backend = [call](std::unique_ptr<kernels::Backend> inner, int) {
      return std::make_unique<WrongGuesses>(std::move(inner), call);
    };
    TestReplica ahead(wrong);
    EXPECT_EQ(run_ahead(ahead, simple_requests()), want) << call;
    EXPECT_EQ(ahead.n_redone(), GetParam().tp);
  }
}

// The step under way is told of before the failure of the one that could not begin.
TEST_P(StepsAheadOnHosts, LoseNoResultToABadPlan) {
  TestReplica replica(options());
  std::vector<step::StepPlan> plans(3);
  plans[0].starts.push_back({SequenceId(1), make_prompt(19, 3, 512), 19, greedy_sampling()});
  plans[0].spans.push_back({.id = SequenceId(1),
                            .n_tokens = 19,
                            .new_blocks = {BlockId(0), BlockId(1)},
                            .sample = true});
  for (const int i : {1, 2}) {
    plans[static_cast<size_t>(i)].spans.push_back({.id = SequenceId(1),
                                                   .first_position = i == 1 ? 19 : 25,
                                                   .n_tokens = 1,
                                                   .token = step::kSampledToken,
                                                   .sample = true});
  }
  // Of several ranks another one may tell of the failure before the first tells the result.
  EXPECT_GE(replica.n_results_before_failure(std::move(plans)), GetParam().tp == 1 ? 2 : 1);
}

INSTANTIATE_TEST_SUITE_P(Ranks, StepsAheadOnHosts,
                         testing::Values(Ranks{1, false}, Ranks{2, false}, Ranks{4, true}),
                         [](const auto& ranks) {
                           return "tp" + std::to_string(ranks.param.tp) +
                                  (ranks.param.host_groups ? "_host_groups" : "");
                         });

}  // namespace
}  // namespace trireme::worker
