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

// The same of an encoder.
struct EncoderPrompt {
  std::vector<int32_t> ids;
  std::vector<float> hidden;     // [n, width], what the last layer leaves; of the short prompts
  std::vector<float> embedding;  // [width], the mean of the rows, of length 1
  double bf16_mean_error = 0;    // of `hidden`
};

// Aborts the test binary on a file that is not there.
std::vector<EncoderPrompt> load_golden_encoder(const std::string& model);
Golden load_golden(const std::string& model);
std::string golden_dir(const std::string& model);
// Every decoder under tests/golden/models.
std::vector<std::string> golden_models();
// Whether TRIREME_TEST_ALL asks for the whole matrix instead of a sample.
bool test_everything();

}  // namespace trireme::worker
