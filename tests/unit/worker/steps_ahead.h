// Steps that are sent before the tokens that they begin with are known, and the same steps one by
// one: for any backend.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {

// A request from the step at which its prompt is computed.
struct AheadRequest {
  step::SamplingParams sampling;
  int32_t n_prompt = 19;
  int first_step = 0;
  int n_outputs = 12;     // sampled in as many steps
  int prompt_steps = 1;   // that its prompt takes
  int blocks_of = -1;     // takes over the blocks of this request, with the plan that releases it
  int release_step = -1;  // -1: the step behind its last output; earlier: it is cancelled
};

// By request, the tokens that it was given.
using AheadOutputs = std::vector<std::vector<int32_t>>;

// Every plan is sent when the one before has its result, with the tokens that it gave.
AheadOutputs run_one_by_one(TestReplica& replica, const std::vector<AheadRequest>& requests);
// All plans are sent at once, with step::kSampledToken for every sampled token.
AheadOutputs run_ahead(TestReplica& replica, const std::vector<AheadRequest>& requests);

step::SamplingParams drawn(float temperature, uint64_t seed);

}  // namespace trireme::worker
