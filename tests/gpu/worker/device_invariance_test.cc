// The batch-invariant mode of the CUDA backend: a request's logits do not depend on its company or
// on how its prompt was cut, bit for bit, with recorded decode steps of padded sizes too.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

class DeviceInvariance : public DeviceReplicaTestWithParam<const char*> {
 protected:
  void SetUp() override {
    DeviceReplicaTest::SetUp();
    if (IsSkipped()) return;
    replica_ =
        std::make_unique<TestReplica>(ReplicaOptions{.model_dir = golden_dir(GetParam()),
                                                     .make_backend = make_batch_invariant_device,
                                                     .compute = kernels::ComputeDType::kBF16});
  }

  static TestSequence request(int n_prompt, uint64_t seed) {
    TestSequence sequence;
    sequence.prompt = make_prompt(n_prompt, seed, 512);
    sequence.sampling = greedy_sampling();
    sequence.n_new = 3;
    return sequence;
  }

  static void expect_same(const Generated& a, const Generated& b) {
    EXPECT_EQ(a.tokens, b.tokens);
    ASSERT_EQ(a.logits.size(), b.logits.size());
    for (size_t i = 0; i < a.logits.size(); ++i) {
      EXPECT_EQ(
          std::memcmp(a.logits[i].data(), b.logits[i].data(), a.logits[i].size() * sizeof(float)),
          0)
          << "row " << i;
    }
  }

  std::unique_ptr<TestReplica> replica_;
};

TEST_P(DeviceInvariance, AloneOrInCompany) {
  std::vector<TestSequence> sequences;
  for (uint64_t i = 0; i < 5; ++i) sequences.push_back(request(3 + 11 * static_cast<int>(i), i));
  const auto together = generate(*replica_, sequences);
  for (const size_t i : {0u, 2u, 4u}) {
    SCOPED_TRACE("request " + std::to_string(i));
    expect_same(generate(*replica_, {sequences[i]})[0], together[i]);
  }
}

TEST_P(DeviceInvariance, WholeOrInChunks) {
  const TestSequence sequence = request(45, 9);
  const Generated whole = generate(*replica_, {sequence})[0];
  for (const int chunk : {7, 16}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    expect_same(generate(*replica_, {sequence}, chunk)[0], whole);
  }
}

// Heads of 64 channels on the tensor cores; windows and sinks and experts; latent attention.
INSTANTIATE_TEST_SUITE_P(Models, DeviceInvariance,
                         testing::Values("llama3", "gpt_oss", "deepseek_v3"),
                         [](const testing::TestParamInfo<const char*>& test) {
                           return std::string(test.param);
                         });

}  // namespace
}  // namespace trireme::worker
