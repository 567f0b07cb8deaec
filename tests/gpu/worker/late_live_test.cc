// Production's scheduler over a rank on a device that is late: plans come while the device works,
// so that steps begin ahead, among preemptions, prefix hits, blocks that leave a window, and
// requests that come and end. The same tokens as a step at a time.
#include <gtest/gtest.h>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/live_replica.h"

namespace trireme::worker {
namespace {

// Batch-invariant: which rows a step has depends on who is told what when.
std::unique_ptr<kernels::Backend> make_late_device(kernels::ComputeDType dtype) {
  kernels::make_emulated_device_late();
  return make_batch_invariant_device(dtype);
}

std::vector<LiveRequest> requests() {
  std::vector<LiveRequest> all;
  for (uint64_t i = 0; i < 6; ++i) {
    LiveRequest request;
    request.prompt = make_prompt(20 + static_cast<int>(i) * 7, i / 2, 512);
    request.n_new = 22 + static_cast<int32_t>(i) * 2;
    request.sampling.seed = i;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    if (i % 3 == 2) request.sampling.top_p = 0.9f;
    if (i == 1) request.sampling.presence_penalty = 0.7f;  // while it runs, steps wait
    all.push_back(std::move(request));
  }
  return all;
}

struct Setting {
  const char* name;
  const char* model;
  int32_t max_step_tokens;
  int64_t max_kv_blocks;
  bool prefix_cache;
};

class LateLive : public testing::TestWithParam<Setting> {};

TEST_P(LateLive, GivesWhatAStepAtATimeGives) {
  const Setting& setting = GetParam();
  LiveOptions options{.model_dir = golden_dir(setting.model),
                      .compute = kernels::ComputeDType::kBF16,
                      .make_backend = make_batch_invariant_device,
                      .max_step_tokens = setting.max_step_tokens,
                      .max_kv_blocks = setting.max_kv_blocks,
                      .prefix_cache = setting.prefix_cache};
  const std::vector<LiveRequest> all = requests();
  const std::vector<LiveRequest> first(all.begin(), all.begin() + 4);
  const std::vector<LiveRequest> late(all.begin() + 4, all.end());
  const std::vector<LiveAnswer> want = LiveReplica(options).run(first, late, 5);
  options.run_ahead = true;
  options.make_backend = make_late_device;
  LiveReplica replica(options);
  const std::vector<LiveAnswer> got = replica.run(first, late, 5);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].error, "") << i;
    EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
  }
  EXPECT_GT(replica.n_steps_ahead(), 5);
  EXPECT_EQ(replica.n_preemptions() > 0, setting.max_kv_blocks < 100);
}

INSTANTIATE_TEST_SUITE_P(Settings, LateLive,
                         testing::Values(Setting{"llama", "llama", 512, 2048, false},
                                         Setting{"small_pool", "llama", 48, 12, false},
                                         Setting{"prefix_cache", "llama", 64, 2048, true},
                                         Setting{"gemma2_slides", "gemma2", 48, 2048, false}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace trireme::worker
