// The scheduler that sends a step before the one in flight has sampled, over real ranks: the same
// tokens and log-probabilities, bit for bit, whatever the sampling looks back at.
#include <gtest/gtest.h>

#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/live_replica.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

std::vector<LiveRequest> requests() {
  std::vector<LiveRequest> all;
  for (uint64_t i = 0; i < 8; ++i) {
    LiveRequest request;
    request.prompt = make_prompt(20 + static_cast<int>(i) * 9, i, 512);
    request.n_new = 20 + static_cast<int32_t>(i);
    request.sampling.seed = i;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    if (i % 3 == 1) {
      request.sampling.presence_penalty = 0.7f;
      request.sampling.frequency_penalty = 0.4f;
      request.sampling.repetition_penalty = 1.3f;
    }
    if (i % 3 == 2) request.sampling.top_p = 0.9f;
    request.sampling.n_logprobs = 2;
    all.push_back(std::move(request));
  }
  return all;
}

struct Setting {
  const char* name;
  const char* model;
  int tp;
  int32_t max_step_tokens;
  int64_t max_kv_blocks;
};

class RunAhead : public testing::TestWithParam<Setting> {};

TEST_P(RunAhead, GivesWhatAStepAtATimeGives) {
  const Setting& setting = GetParam();
  LiveOptions options{.model_dir = golden_dir(setting.model),
                      .tp = setting.tp,
                      .max_step_tokens = setting.max_step_tokens,
                      .max_kv_blocks = setting.max_kv_blocks};
  const std::vector<LiveAnswer> want = LiveReplica(options).run(requests());
  options.run_ahead = true;
  const std::vector<LiveAnswer> got = LiveReplica(options).run(requests());
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_EQ(got[i].error, "");
    EXPECT_EQ(got[i].tokens, want[i].tokens);
    ASSERT_EQ(got[i].logprobs.size(), want[i].logprobs.size());
    for (size_t t = 0; t < want[i].logprobs.size(); ++t) {
      EXPECT_EQ(got[i].logprobs[t].actual.logprob, want[i].logprobs[t].actual.logprob);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, RunAhead,
                         testing::Values(Setting{"llama", "llama", 1, 512, 2048},
                                         Setting{"llama_tp2_small_pool", "llama", 2, 64, 24},
                                         Setting{"gemma2_slides", "gemma2", 1, 48, 2048},
                                         Setting{"gpt_oss_tp2", "gpt_oss", 2, 7, 2048}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace trireme::worker
