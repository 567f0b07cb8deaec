// Replays the fuzzers' corpora, every input that once crashed among them.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "tests/fuzz/text/targets.h"
#include "tests/unit/text/tokenizer_goldens.h"

namespace trireme::text {
namespace {

TEST(FuzzCorpus, RunsWithoutACrash) {
  const std::pair<const char*, std::function<void(std::string_view)>> targets[] = {
      {"tokenizer_json", fuzz_tokenizer_json},
      {"sentencepiece", fuzz_sentencepiece},
      {"ranks", fuzz_ranks},
      {"vocab_files", fuzz_vocab_files},
      {"template", fuzz_template},
      {"regex", fuzz_regex}};
  for (const auto& [name, run] : targets) {
    int n = 0;
    const std::string folder = std::string(TRIREME_SOURCE_DIR) + "/tests/fuzz/text/corpus/" + name;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      SCOPED_TRACE(file.path().string());
      run(read_all(file.path().string()));
      ++n;
    }
    EXPECT_GT(n, 0) << name;
  }
}

}  // namespace
}  // namespace trireme::text
