#include "tests/unit/worker/steps_ahead.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::worker {
namespace {

constexpr int32_t kBlockSize = 16;
constexpr int32_t kBlocksEach = 4;

SequenceId id_of(size_t request) { return SequenceId(request + 1); }

int first_decode_step(const AheadRequest& request) {
  return request.first_step + request.prompt_steps;
}
// The first step without it.
int end_step(const AheadRequest& request) {
  const int end = first_decode_step(request) + request.n_outputs - 1;
  return request.release_step < 0 ? end : std::min(end, request.release_step);
}

void add_prompt(size_t i, const AheadRequest& request, int part, int32_t vocab,
                step::StepPlan& plan) {
  const int32_t begin = request.n_prompt * part / request.prompt_steps;
  const int32_t end = request.n_prompt * (part + 1) / request.prompt_steps;
  step::SequenceSpan span{.id = id_of(i),
                          .first_position = begin,
                          .n_tokens = end - begin,
                          .sample = part + 1 == request.prompt_steps};
  if (part == 0) {
    plan.starts.push_back({id_of(i), make_prompt(request.n_prompt, i + 3, vocab), request.n_prompt,
                           request.sampling});
    CHECK_LE(request.n_prompt + request.n_outputs, kBlocksEach * kBlockSize);
    const auto owner = request.blocks_of < 0 ? static_cast<int32_t>(i) : request.blocks_of;
    for (int32_t block = 0; block < kBlocksEach; ++block) {
      span.new_blocks.emplace_back(owner * kBlocksEach + block);
    }
  }
  plan.spans.push_back(span);
}

// The plan of a step; `outputs`: what is known so far, or nullptr where nothing is.
step::StepPlan plan_of(const std::vector<AheadRequest>& requests, int step, int32_t vocab,
                       const AheadOutputs* outputs) {
  step::StepPlan plan;
  for (size_t i = 0; i < requests.size(); ++i) {
    const AheadRequest& request = requests[i];
    if (step == end_step(request)) plan.releases.push_back(id_of(i));
    if (step < request.first_step || step >= end_step(request)) continue;
    const int part = step - request.first_step;
    if (part < request.prompt_steps) {
      add_prompt(i, request, part, vocab, plan);
      continue;
    }
    plan.spans.push_back({.id = id_of(i),
                          .first_position = request.n_prompt + step - first_decode_step(request),
                          .n_tokens = 1,
                          .token = outputs == nullptr ? step::kSampledToken : (*outputs)[i].back(),
                          .sample = true});
  }
  return plan;
}

int n_steps(const std::vector<AheadRequest>& requests) {
  int n = 0;
  for (const AheadRequest& request : requests) n = std::max(n, end_step(request) + 1);
  return n;
}

void take(const step::StepResult& result, AheadOutputs& outputs) {
  for (const step::SequenceOutput& output : result.outputs) {
    outputs[output.id.value() - 1].push_back(output.token);
  }
}

}  // namespace

step::SamplingParams drawn(float temperature, uint64_t seed) {
  step::SamplingParams sampling;
  sampling.temperature = temperature;
  sampling.seed = seed;
  return sampling;
}

AheadOutputs run_one_by_one(TestReplica& replica, const std::vector<AheadRequest>& requests) {
  AheadOutputs outputs(requests.size());
  for (int step = 0; step < n_steps(requests); ++step) {
    take(replica.run(plan_of(requests, step, replica.spec().vocab, &outputs)), outputs);
  }
  return outputs;
}

AheadOutputs run_ahead(TestReplica& replica, const std::vector<AheadRequest>& requests) {
  std::vector<step::StepPlan> plans;
  plans.reserve(static_cast<size_t>(n_steps(requests)));
  for (int step = 0; step < n_steps(requests); ++step) {
    plans.push_back(plan_of(requests, step, replica.spec().vocab, nullptr));
  }
  AheadOutputs outputs(requests.size());
  for (const step::StepResult& result : replica.run_all(std::move(plans))) take(result, outputs);
  return outputs;
}

}  // namespace trireme::worker
