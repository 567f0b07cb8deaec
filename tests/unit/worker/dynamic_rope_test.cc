// A base that follows the length: tokens and logits of the reference across the original context,
// and the same whatever a prompt is cut into and however often a sequence is computed.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

class DynamicRope : public testing::Test {
 protected:
  // The golden's weights beside a config with a dynamic base.
  void SetUp() override {
    golden_ = read_json("tests/golden/rope/dynamic_ntk.json");
    folder_ = fs::path(testing::TempDir()) /
              (std::string("dynamic_rope_") +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    const fs::path model = golden_dir("llama_f32");
    fs::copy_file(model / "model.safetensors", folder_ / "model.safetensors");
    Json config = read_json(model / "config.json");
    config["max_position_embeddings"] = golden_["max_position_embeddings"];
    config["rope_scaling"] = {{"type", "dynamic"}, {"factor", golden_["factor"]}};
    std::ofstream(folder_ / "config.json") << config;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<TestSequence> sequences() const {
    std::vector<TestSequence> all;
    for (const Json& prompt : golden_["prompts"]) {
      TestSequence sequence;
      sequence.prompt = prompt["ids"].get<std::vector<int32_t>>();
      sequence.n_new = static_cast<int>(prompt["greedy"].size());
      sequence.sampling = greedy_sampling();
      all.push_back(sequence);
    }
    return all;
  }
  void expect_golden(const std::vector<Generated>& results) const {
    for (size_t i = 0; i < results.size(); ++i) {
      const Json& want = golden_["prompts"][i];
      EXPECT_EQ(results[i].tokens, want["greedy"].get<std::vector<int32_t>>()) << "prompt " << i;
      float worst = 0;
      for (size_t step = 0; step < want["logits"].size(); ++step) {
        for (size_t c = 0; c < golden_["columns"].size(); ++c) {
          const float got = results[i].logits[step][golden_["columns"][c].get<size_t>()];
          worst = std::max(worst, std::abs(got - want["logits"][step][c].get<float>()));
        }
      }
      EXPECT_LT(worst, 1e-3f) << "prompt " << i;
    }
  }

  Json golden_;
  fs::path folder_;
};

TEST_F(DynamicRope, TokensAndLogitsOfTheReference) {
  for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 2}}) {
    SCOPED_TRACE(tp);
    TestReplica replica({.model_dir = folder_.string(), .tp = tp, .pp = pp});
    EXPECT_EQ(replica.spec().context, 48);
    expect_golden(generate(replica, sequences()));
  }
}

TEST_F(DynamicRope, ChunksAndASecondComputationChangeNothing) {
  TestReplica replica({.model_dir = folder_.string()});
  const std::vector<Generated> whole = generate(replica, sequences());
  const std::vector<Generated> cut = generate(replica, sequences(), 3);
  // As after a preemption: 5 outputs are known at the start.
  constexpr size_t kKnown = 5;
  std::vector<TestSequence> again = sequences();
  for (size_t i = 0; i < again.size(); ++i) {
    again[i].n_prompt = static_cast<int32_t>(again[i].prompt.size());
    const auto& tokens = whole[i].tokens;
    again[i].prompt.insert(again[i].prompt.end(), tokens.begin(), tokens.begin() + kKnown);
    again[i].n_new -= kKnown;
  }
  const std::vector<Generated> resumed = generate(replica, again);
  for (size_t i = 0; i < whole.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(cut[i].logits, whole[i].logits);
    const auto rest = whole[i].logits.begin() + kKnown;
    EXPECT_EQ(resumed[i].logits, std::vector<std::vector<float>>(rest, whole[i].logits.end()));
  }
}

}  // namespace
}  // namespace trireme::worker
