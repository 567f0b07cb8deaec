// The tiny reference models of tests/golden/models: prompts with logits and greedy paths computed
// elsewhere in float32.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::worker {

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<float> logits;  // [n_logits, vocab]: every position, or the last alone
  int64_t n_logits = 0;
  std::vector<int32_t> greedy;        // [32]
  std::vector<float> greedy_logprob;  // [32]
  std::vector<int32_t> greedy_top5;   // [32, 5]
  double bf16_mean_error = 0;         // of the implementation that made the golden
};

struct Golden {
  std::string dir;
  int64_t vocab = 0;
  std::vector<GoldenPrompt> prompts;
};

// Aborts the test binary on a file that is not there.
Golden load_golden(const std::string& model);
std::string golden_dir(const std::string& model);
// Every model under tests/golden/models that this build serves.
std::vector<std::string> golden_models();
// Whether TRIREME_TEST_ALL asks for the whole matrix instead of a sample.
bool test_everything();

}  // namespace trireme::worker
