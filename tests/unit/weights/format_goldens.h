// The reference checkpoints in storage forms of releases: tests/golden/formats holds a few whole,
// and of others single tensors (cut/); the whole set is found under $TRIREME_GOLDENS/formats or
// ../shared/goldens/formats.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::worker {

struct FormatPrompt {
  std::vector<int32_t> ids;
  std::vector<float> logits;  // [n_logits, vocab]: every position, or the last alone
  int64_t n_logits = 0;
  std::vector<int32_t> greedy;       // [32]
  std::vector<int32_t> greedy_top5;  // [32, 5]
};

struct FormatGolden {
  std::string name;  // "models/llama_awq"
  std::string dir;
  int64_t vocab = 0;
  std::vector<FormatPrompt> prompts;
};

// A folder with a checkpoint's config.json and some of its tensors: "llama_awq".
std::string cut_dir(const std::string& name);
// Names of the goldens to run: those of the repository; with the whole set at hand, one of each
// storage form; with TRIREME_TEST_ALL=1 besides, all.
std::vector<std::string> format_golden_names();
// Where a golden is: in the repository, else in the whole set.
std::string format_golden_dir(const std::string& name);
bool has_format_golden(const std::string& name);
// Empty, or a sentence that says what is left out and why.
std::string left_out();

FormatGolden load_format_golden(const std::string& name);

}  // namespace trireme::worker
