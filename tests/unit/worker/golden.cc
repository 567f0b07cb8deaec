#include "tests/unit/worker/golden.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path) : file_(SafetensorsFile::open(path)) {
    CHECK(file_.ok()) << file_.error().message;
    for (const StoredTensor& tensor : (*file_)->tensors()) by_name_[tensor.name] = &tensor;
  }

  std::vector<int64_t> shape(const std::string& name) const { return by_name_.at(name)->shape; }

  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const StoredTensor& tensor = *by_name_.at(name);
    CHECK_EQ(static_cast<size_t>(tensor.element_bytes), sizeof(T));
    std::vector<T> values((tensor.end - tensor.begin) / sizeof(T));
    const int64_t columns = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
    const Status status = (*file_)->read(tensor, {0, tensor.shape[0]}, {0, columns}, values.data());
    CHECK(status.ok()) << status.error().message;
    return values;
  }

 private:
  Result<std::unique_ptr<SafetensorsFile>> file_;
  std::map<std::string, const StoredTensor*> by_name_;
};

}  // namespace

std::vector<std::string> golden_models() {
  return {"llama",      "llama_f32",   "llama_f16", "llama3",      "mistral",    "qwen2",
          "qwen3",      "qwen3_v5cfg", "granite",   "gemma",       "gemma2",     "gemma3",
          "phi3",       "olmo2",       "cohere",    "cohere2",     "glm4",       "gpt2",
          "gpt_neox",   "starcoder2",  "falcon",    "mixtral",     "qwen2_moe",  "qwen3_moe",
          "granitemoe", "gpt_oss",     "llama4",    "deepseek_v2", "deepseek_v3"};
}

bool test_everything() {
  const char* all = std::getenv("TRIREME_TEST_ALL");
  return all != nullptr && std::string(all) == "1";
}

std::string golden_dir(const std::string& model) { return "tests/golden/models/" + model; }

Golden load_golden(const std::string& model) {
  Golden golden;
  golden.dir = golden_dir(model);
  const GoldenFile file(golden.dir + "/golden.safetensors");
  std::ifstream stream(golden.dir + "/golden.json");
  const nlohmann::json info = nlohmann::json::parse(stream);
  for (int i = 0; i < 5; ++i) {
    const auto key = [i](const char* what) { return fmt::format("p{}.{}", i, what); };
    GoldenPrompt prompt;
    prompt.ids = file.read<int32_t>(key("ids"));
    prompt.logits = file.read<float>(key("logits"));
    prompt.n_logits = file.shape(key("logits"))[0];
    golden.vocab = file.shape(key("logits"))[1];
    prompt.greedy = file.read<int32_t>(key("greedy"));
    prompt.greedy_logprob = file.read<float>(key("greedy_logprob"));
    prompt.greedy_top5 = file.read<int32_t>(key("greedy_top5"));
    prompt.bf16_mean_error = info["bf16_compute_abs_error"][static_cast<size_t>(i)]["mean"];
    golden.prompts.push_back(std::move(prompt));
  }
  return golden;
}

std::vector<EncoderPrompt> load_golden_encoder(const std::string& model) {
  const std::string dir = golden_dir(model);
  const GoldenFile file(dir + "/golden.safetensors");
  std::ifstream stream(dir + "/golden.json");
  const nlohmann::json info = nlohmann::json::parse(stream);
  std::vector<EncoderPrompt> prompts;
  for (int i = 0; i < 5; ++i) {
    const auto key = [i](const char* what) { return fmt::format("p{}.{}", i, what); };
    EncoderPrompt prompt;
    prompt.ids = file.read<int32_t>(key("ids"));
    // The copy leaves out the hidden states of the two long prompts.
    if (i < 3) prompt.hidden = file.read<float>(key("hidden"));
    prompt.embedding = file.read<float>(key("embedding"));
    prompt.bf16_mean_error = info["bf16_compute_abs_error"][static_cast<size_t>(i)]["mean"];
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace trireme::worker
