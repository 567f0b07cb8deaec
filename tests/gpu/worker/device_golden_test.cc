// The goldens through the production worker, on the emulator or on a GPU: one rank, prompts in
// chunks, decode steps of several sequences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;

constexpr float kTolerance = 1e-3f;

// The emulator runs a kernel's threads one after the other: it does fewer steps.
#if defined(TRIREME_CUDA_EMULATED)
constexpr int kSteps = 4;
constexpr size_t kPrompts = 3;
#else
constexpr int kSteps = 32;
constexpr size_t kPrompts = 5;
#endif

class DeviceGolden : public DeviceReplicaTestWithParam<const char*> {
 protected:
  std::vector<Generated> run(const Golden& golden, ComputeDType compute, int chunk) {
    std::vector<TestSequence> sequences;
    for (size_t i = 0; i < kPrompts; ++i) {
      const GoldenPrompt& prompt = golden.prompts[i];
      TestSequence sequence;
      sequence.prompt = prompt.ids;
      sequence.sampling = greedy_sampling();
      sequence.sampling.n_logprobs = 5;
      sequence.n_new = kSteps;
      sequence.prompt_logprobs = prompt.n_logits > 1;
      sequences.push_back(sequence);
    }
    TestReplica replica({.model_dir = golden.dir, .make_backend = make_device, .compute = compute});
    return generate(replica, sequences, chunk);
  }
};

TEST_P(DeviceGolden, F32LogitsAndGreedyPath) {
  const Golden golden = load_golden(GetParam());
  const std::vector<Generated> results = run(golden, ComputeDType::kF32, 1 << 20);
  for (size_t i = 0; i < kPrompts; ++i) {
    SCOPED_TRACE("prompt " + std::to_string(i));
    const GoldenPrompt& want = golden.prompts[i];
    const Generated& got = results[i];
    float worst = 0;
    for (int64_t row = 0; row < want.n_logits; ++row) {
      for (int64_t token = 0; token < golden.vocab; ++token) {
        const float logit = got.logits[static_cast<size_t>(row)][static_cast<size_t>(token)];
        const float expected = want.logits[static_cast<size_t>(row * golden.vocab + token)];
        worst = std::max(worst, std::abs(logit - expected));
      }
    }
    EXPECT_LT(worst, kTolerance);
    ASSERT_EQ(got.tokens.size(), static_cast<size_t>(kSteps));
    for (size_t step = 0; step < kSteps; ++step) {
      EXPECT_EQ(got.tokens[step], want.greedy[step]) << "step " << step;
      EXPECT_NEAR(got.logprobs[step].actual.logprob, want.greedy_logprob[step], kTolerance);
    }
  }
}

TEST_P(DeviceGolden, F32InChunksTakesTheSamePath) {
  const Golden golden = load_golden(GetParam());
  const std::vector<Generated> results = run(golden, ComputeDType::kF32, 7);
  for (size_t i = 0; i < kPrompts; ++i) {
    for (size_t step = 0; step < kSteps; ++step) {
      EXPECT_EQ(results[i].tokens[step], golden.prompts[i].greedy[step]) << i << ", step " << step;
    }
  }
}

TEST_P(DeviceGolden, Bf16MeanError) {
  const Golden golden = load_golden(GetParam());
  const std::vector<Generated> results = run(golden, ComputeDType::kBF16, 1 << 20);
  for (size_t i = 0; i < kPrompts; ++i) {
    SCOPED_TRACE("prompt " + std::to_string(i));
    const GoldenPrompt& want = golden.prompts[i];
    double sum = 0;
    for (int64_t row = 0; row < want.n_logits; ++row) {
      for (int64_t token = 0; token < golden.vocab; ++token) {
        const double logit =
            results[i].logits[static_cast<size_t>(row)][static_cast<size_t>(token)];
        sum += std::abs(logit - want.logits[static_cast<size_t>(row * golden.vocab + token)]);
      }
    }
    const double mean = sum / static_cast<double>(want.n_logits * golden.vocab);
    EXPECT_LT(mean, want.bf16_mean_error);
    EXPECT_GT(mean, 1e-4) << "this run did not compute in bf16";
  }
}

#if defined(TRIREME_CUDA_EMULATED)
INSTANTIATE_TEST_SUITE_P(Llama, DeviceGolden, testing::Values("llama3", "deepseek_v2"));
#else
INSTANTIATE_TEST_SUITE_P(Llama, DeviceGolden,
                         testing::Values("llama", "llama_f32", "llama_f16", "llama3"));
#endif

}  // namespace
}  // namespace trireme::worker
