// Models whose keys, values and latents are cached as e4m3 through the production worker, on the
// emulator or on a GPU, against the same models on the reference backend with the same codes.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;

class DeviceE4M3Kv : public DeviceReplicaTestWithParam<const char*> {
 protected:
  // Prompts of one token, of less and of more than a few blocks, and decode steps behind them.
  static std::vector<Generated> run(ComputeDType compute, bool on_device, bool e4m3_kv) {
    ReplicaOptions options{.model_dir = golden_dir(GetParam()),
                           .backend = "reference",
                           .compute = compute,
                           .e4m3_kv = e4m3_kv};
    if (on_device) {
      options.make_backend = make_device;
    }
    TestReplica replica(options);
    std::vector<TestSequence> sequences;
    for (const int n : {1, 9, 50}) {
      TestSequence sequence;
      sequence.prompt = make_prompt(n, static_cast<uint64_t>(n), 512);
      sequence.sampling = greedy_sampling();
      sequence.n_new = 4;
      sequence.prompt_logprobs = true;
      sequences.push_back(sequence);
    }
    return generate(replica, sequences);
  }

  // The mean difference of all logits, up to where the paths part.
  static double difference(const std::vector<Generated>& a, const std::vector<Generated>& b) {
    double sum = 0;
    double n = 0;
    for (size_t s = 0; s < a.size(); ++s) {
      const size_t n_prompt_rows = a[s].logits.size() - a[s].tokens.size();
      for (size_t row = 0; row < a[s].logits.size(); ++row) {
        if (row > n_prompt_rows &&
            a[s].tokens[row - n_prompt_rows - 1] != b[s].tokens[row - n_prompt_rows - 1]) {
          break;
        }
        for (size_t t = 0; t < a[s].logits[row].size(); ++t) {
          sum += std::abs(a[s].logits[row][t] - b[s].logits[row][t]);
          n += 1;
        }
      }
    }
    return sum / n;
  }
};

// The codes are the same but for roundings that fall on another side, which is a small part of what
// caching in codes does at all.
TEST_P(DeviceE4M3Kv, F32IsNearTheReference) {
  const auto reference = run(ComputeDType::kF32, false, true);
  const double moved = difference(reference, run(ComputeDType::kF32, false, false));
  const double off = difference(run(ComputeDType::kF32, true, true), reference);
  RecordProperty("off", std::to_string(off));
  RecordProperty("moved", std::to_string(moved));
  EXPECT_GT(moved, 0.01);
  EXPECT_LT(off, moved / 4);
}

TEST_P(DeviceE4M3Kv, Bf16IsAsFarFromTheReferenceAsItsCodesAre) {
  const auto exact = run(ComputeDType::kF32, false, false);
  const double reference = difference(run(ComputeDType::kBF16, false, true), exact);
  const double device = difference(run(ComputeDType::kBF16, true, true), exact);
  RecordProperty("reference", std::to_string(reference));
  RecordProperty("device", std::to_string(device));
  EXPECT_GT(device, 0.01);
  EXPECT_LT(device, 1.5 * reference);
}

// Heads of 64 channels on the tensor cores; windows and sinks; latents.
INSTANTIATE_TEST_SUITE_P(Models, DeviceE4M3Kv,
                         testing::Values("llama3", "gemma3", "gpt_oss", "deepseek_v3"),
                         [](const testing::TestParamInfo<const char*>& test) {
                           return std::string(test.param);
                         });

}  // namespace
}  // namespace trireme::worker
