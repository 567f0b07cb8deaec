#include "tests/unit/weights/format_goldens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/check.h"
#include "tests/unit/weights/file_builders.h"

namespace trireme::worker {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSample = "tests/golden/formats";

// One of each storage form, where the whole set is at hand.
constexpr const char* kUsual[] = {"gguf/gemma_q8_0",
                                  "gguf/llama_q8_0_split",
                                  "gguf/llama_rope_freqs_q8_0",
                                  "gguf/qwen2_q8_0",
                                  "models/deepseek_v3_fp8",
                                  "models/gpt_oss_mxfp4",
                                  "models/grok1",
                                  "models/grok1_w123",
                                  "models/llama_awq",
                                  "models/llama_fp8_channel",
                                  "models/llama_fp8_static",
                                  "models/llama_gptq_actorder",
                                  "models/llama_w8a8"};

// Empty when it is not there.
std::string whole_set() {
  std::vector<std::string> places;
  if (const char* place = std::getenv("TRIREME_GOLDENS"); place != nullptr) {
    places.push_back(std::string(place) + "/formats");
  }
  places.emplace_back("../shared/goldens/formats");
  for (const std::string& place : places) {
    std::error_code error;
    if (fs::is_directory(place, error)) return place;
  }
  return {};
}

bool wants_all() {
  const char* all = std::getenv("TRIREME_TEST_ALL");
  return all != nullptr && std::string(all) == "1";
}

std::vector<std::string> names_in(const std::string& root) {
  std::vector<std::string> names;
  for (const char* kind : {"models", "gguf"}) {
    std::error_code error;
    for (fs::directory_iterator it(fs::path(root) / kind, error), end; !error && it != end;
         it.increment(error)) {
      names.push_back(std::string(kind) + "/" + it->path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class GoldenTensors {
 public:
  explicit GoldenTensors(const std::string& path) {
    for (FileTensor& tensor : read_safetensors(path)) {
      const std::string name = tensor.name;
      tensors_.emplace(name, std::move(tensor));
    }
  }
  const std::vector<int64_t>& shape(const std::string& name) const {
    return tensors_.at(name).shape;
  }
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const std::string& bytes = tensors_.at(name).bytes;
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  std::map<std::string, FileTensor> tensors_;
};

}  // namespace

std::string cut_dir(const std::string& name) { return std::string(kSample) + "/cut/" + name; }

std::vector<std::string> format_golden_names() {
  std::vector<std::string> names = names_in(kSample);
  CHECK(!names.empty()) << "run from the repository's root";
  if (whole_set().empty()) return names;
  if (wants_all()) return names_in(whole_set());
  names.insert(names.end(), std::begin(kUsual), std::end(kUsual));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::string format_golden_dir(const std::string& name) {
  const std::string sample = std::string(kSample) + "/" + name;
  std::error_code error;
  return fs::is_directory(sample, error) ? sample : whole_set() + "/" + name;
}

bool has_format_golden(const std::string& name) {
  std::error_code error;
  return fs::is_directory(format_golden_dir(name), error);
}

std::string left_out() {
  if (!whole_set().empty()) return {};
  return fmt::format(
      "only the {} goldens of the repository are run: neither $TRIREME_GOLDENS nor "
      "../shared/goldens is there",
      names_in(kSample).size());
}

FormatGolden load_format_golden(const std::string& name) {
  FormatGolden golden;
  golden.name = name;
  golden.dir = format_golden_dir(name);
  const GoldenTensors file(golden.dir + "/golden.safetensors");
  for (int i = 0; i < 5; ++i) {
    const auto key = [i](const char* what) { return fmt::format("p{}.{}", i, what); };
    FormatPrompt prompt;
    prompt.ids = file.read<int32_t>(key("ids"));
    prompt.logits = file.read<float>(key("logits"));
    prompt.n_logits = file.shape(key("logits"))[0];
    golden.vocab = file.shape(key("logits"))[1];
    prompt.greedy = file.read<int32_t>(key("greedy"));
    prompt.greedy_top5 = file.read<int32_t>(key("greedy_top5"));
    golden.prompts.push_back(std::move(prompt));
  }
  return golden;
}

}  // namespace trireme::worker
