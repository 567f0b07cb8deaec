// A rank on a device begins a step before the one before is finished, and tells of a step when the
// next one is on its way: plans that are sent ahead of their tokens give what plans one by one
// give.
#include "tests/unit/worker/steps_ahead.h"

#include <gtest/gtest.h>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"

namespace trireme::worker {
namespace {

class StepsAhead : public DeviceReplicaTest {
 protected:
  static ReplicaOptions options() {
    return {.model_dir = golden_dir("llama"),
            .make_backend = make_device,
            .compute = kernels::ComputeDType::kBF16};
  }
};

std::vector<AheadRequest> requests() {
  std::vector<AheadRequest> requests(4);
  requests[0].sampling = greedy_sampling();
  requests[1].sampling = drawn(0.8f, 7);
  requests[2].sampling = drawn(0.7f, 8);
  requests[2].sampling.top_p = 0.5f;
  requests[3].sampling = greedy_sampling();
  requests[3].first_step = 3;
  requests[3].prompt_steps = 2;
  requests[1].release_step = 6;
  return requests;
}

TEST_F(StepsAhead, OnADeviceGiveWhatStepsOneByOneGive) {
  TestReplica plain(options());
  ReplicaOptions begins_ahead = options();
  begins_ahead.steps_ahead = true;
  TestReplica ahead(begins_ahead);
  const AheadOutputs want = run_one_by_one(plain, requests());
  EXPECT_EQ(run_ahead(ahead, requests()), want);
  EXPECT_GT(ahead.n_graphs(), 0);
  EXPECT_GT(ahead.n_ahead(), 0);
}

// Rows that the host must read, so that no step begins ahead; but plans are heard ahead.
TEST_F(StepsAhead, OnADeviceRowsWithRulesAreWaitedFor) {
  std::vector<AheadRequest> ruled = requests();
  for (AheadRequest& request : ruled) request.sampling.presence_penalty = 0.5f;
  TestReplica plain(options());
  ReplicaOptions begins_ahead = options();
  begins_ahead.steps_ahead = true;
  TestReplica ahead(begins_ahead);
  EXPECT_EQ(run_ahead(ahead, ruled), run_one_by_one(plain, ruled));
  EXPECT_GT(ahead.n_graphs(), 0);
}

// The result of the step before is told, and then of the failure.
TEST_F(StepsAhead, OnADeviceAResultIsNotLostWithTheNextPlan) {
  for (const bool begins_ahead : {false, true}) {
    ReplicaOptions with = options();
    with.steps_ahead = begins_ahead;
    TestReplica replica(with);
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
    EXPECT_EQ(replica.n_results_before_failure(std::move(plans)), 2);
  }
}

}  // namespace
}  // namespace trireme::worker
