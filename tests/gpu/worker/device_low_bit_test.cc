// Models whose weights stay low-bit through the production worker, on the emulator or on a GPU,
// against the same models on the reference backend. Codes are random.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;

// Two layers with four experts each, of which a token meets two; more query heads than key heads.
std::string mixtral_with(const std::string& quantization) {
  return R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 128,
    "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 96, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu", "num_local_experts": 4,
    "num_experts_per_tok": 2, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "quantization_config": )" +
         quantization + "}";
}

// The same of gpt-oss, whose experts alone are codes.
std::string gpt_oss() {
  return R"({"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 128,
    "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 96, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu", "num_local_experts": 4,
    "num_experts_per_tok": 2, "tie_word_embeddings": false, "attention_bias": true,
    "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
    "swiglu_limit": 7.0, "quantization_config": {"quant_method": "mxfp4"}})";
}

struct Form {
  const char* name;
  std::string config;
};
std::vector<Form> forms() {
  return {
      {"fp8", mixtral_with(R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                            "weight_block_size": [128, 128]})")},
      {"awq",
       mixtral_with(R"({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm",
                            "zero_point": true})")},
      {"int8", mixtral_with(R"({"quant_method": "compressed-tensors", "format": "int-quantized",
                            "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int",
                            "strategy": "channel", "symmetric": true}}}})")},
      {"mxfp4", gpt_oss()}};
}

class DeviceLowBit : public DeviceReplicaTestWithParam<Form> {
 protected:
  // Prompts of one token, a few and more than a small product takes, and three tokens of each.
  static std::vector<Generated> run(ComputeDType compute, bool on_device) {
    ReplicaOptions options{.config = GetParam().config,
                           .backend = "reference",
                           .compute = compute,
                           .keep_low_bit = true};
    if (on_device) {
      options.make_backend = make_device;
    }
    TestReplica replica(options);
    // 690,000 weights in layers, 590,000 of them in experts: codes, not bf16.
    if (on_device) {
      EXPECT_LT(replica.ready().front().weight_bytes, 1'000'000);
    }
    std::vector<TestSequence> sequences;
    for (const int n : {1, 5, 40}) {
      TestSequence sequence;
      for (int i = 0; i < n; ++i) sequence.prompt.push_back((i * 37 + n) % 96);
      sequence.sampling = greedy_sampling();
      sequence.n_new = 3;
      sequence.prompt_logprobs = true;
      sequences.push_back(sequence);
    }
    return generate(replica, sequences);
  }

  // Mean difference and mean size of all logits of the prompts.
  static std::pair<double, double> difference(const std::vector<Generated>& a,
                                              const std::vector<Generated>& b, float* worst) {
    double sum = 0;
    double size = 0;
    double n = 0;
    for (size_t s = 0; s < a.size(); ++s) {
      const size_t n_rows = a[s].logits.size() - 2;  // what was drawn after them may differ
      for (size_t row = 0; row < n_rows; ++row) {
        for (size_t t = 0; t < a[s].logits[row].size(); ++t) {
          const float d = std::abs(a[s].logits[row][t] - b[s].logits[row][t]);
          *worst = std::max(*worst, d);
          sum += d;
          size += std::abs(b[s].logits[row][t]);
          n += 1;
        }
      }
    }
    return {sum / n, size / n};
  }
};

TEST_P(DeviceLowBit, F32IsTheReference) {
  float worst = 0;
  const auto [mean, size] =
      difference(run(ComputeDType::kF32, true), run(ComputeDType::kF32, false), &worst);
  EXPECT_GT(size, 1e-3);
  EXPECT_LT(worst, 1e-3 * std::max(1.0, size));
}

TEST_P(DeviceLowBit, Bf16IsNearTheReference) {
  float worst = 0;
  const auto [mean, size] =
      difference(run(ComputeDType::kBF16, true), run(ComputeDType::kBF16, false), &worst);
  EXPECT_GT(mean, 0);
  EXPECT_LT(mean, 0.03 * size);
}

INSTANTIATE_TEST_SUITE_P(Forms, DeviceLowBit, testing::ValuesIn(forms()),
                         [](const testing::TestParamInfo<Form>& form) {
                           return std::string(form.param.name);
                         });

}  // namespace
}  // namespace trireme::worker
