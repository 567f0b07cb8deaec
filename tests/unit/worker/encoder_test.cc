// Encoders: every plan against the golden, and texts whose vectors do not depend on their company.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/pooling.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;
using testing::HasSubstr;

constexpr int kBlockSize = 16;

// All texts in one step, in the order given.
step::StepPlan embed_plan(const std::vector<std::vector<int32_t>>& texts, uint64_t first_id = 1) {
  step::StepPlan plan;
  int32_t next_block = 0;
  uint64_t id = first_id;
  for (const std::vector<int32_t>& text : texts) {
    const auto n = static_cast<int32_t>(text.size());
    plan.starts.push_back({SequenceId(id), text, n, greedy_sampling()});
    step::SequenceSpan span{.id = SequenceId(id++), .n_tokens = n, .embed = true};
    for (int32_t i = 0; i < n; i += kBlockSize) span.new_blocks.emplace_back(next_block++);
    plan.spans.push_back(std::move(span));
  }
  return plan;
}

std::vector<std::vector<float>> embed(TestReplica& replica,
                                      const std::vector<std::vector<int32_t>>& texts,
                                      uint64_t first_id = 1) {
  std::vector<std::vector<float>> vectors;
  for (step::SequenceOutput& output : replica.run(embed_plan(texts, first_id)).outputs) {
    EXPECT_EQ(output.token, -1);
    vectors.push_back(std::move(output.embedding));
  }
  return vectors;
}

float worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

std::vector<std::vector<int32_t>> texts_of(const std::vector<EncoderPrompt>& prompts) {
  std::vector<std::vector<int32_t>> texts;
  for (const EncoderPrompt& prompt : prompts) texts.push_back(prompt.ids);
  return texts;
}

// The golden's folder with the pooling of sentence-transformers said beside it.
class PooledFolder {
 public:
  PooledFolder(const std::string& pooling, const std::string& modules) {
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("trireme-encoder-{}", static_cast<const void*>(this));
    std::filesystem::create_directories(folder_ / "1_Pooling");
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(std::filesystem::path(golden_dir("bert")) / name, folder_ / name);
    }
    std::ofstream(folder_ / "1_Pooling" / "config.json") << pooling;
    std::ofstream(folder_ / "modules.json") << modules;
  }
  ~PooledFolder() { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_.string(); }

 private:
  std::filesystem::path folder_;
};

constexpr const char* kFirstToken =
    R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})";
constexpr const char* kNoNormalize =
    R"([{"type": "sentence_transformers.models.Transformer"},
        {"type": "sentence_transformers.models.Pooling"}])";

struct Layout {
  const char* name;
  int tp;
  int pp;
};
constexpr Layout kLayouts[] = {{"tp1", 1, 1}, {"tp2", 2, 1}, {"tp4", 4, 1},
                               {"pp2", 1, 2}, {"pp4", 1, 4}, {"tp2_pp2", 2, 2}};

class EncoderPlans : public testing::TestWithParam<std::tuple<Layout, const char*>> {
 protected:
  ReplicaOptions options(const std::string& dir, ComputeDType compute) const {
    const auto& [layout, backend] = GetParam();
    return {
        .model_dir = dir, .tp = layout.tp, .pp = layout.pp, .backend = backend, .compute = compute};
  }
};

TEST_P(EncoderPlans, MeanOfRowsIsTheGoldens) {
  const auto prompts = load_golden_encoder("bert");
  TestReplica replica(options(golden_dir("bert"), ComputeDType::kF32));
  const auto vectors = embed(replica, texts_of(prompts));
  ASSERT_EQ(vectors.size(), prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_LT(worst_difference(vectors[i], prompts[i].embedding), 1e-5f) << "prompt " << i;
  }
}

// Without a norm of the vector, the first row is the hidden state itself.
TEST_P(EncoderPlans, FirstRowIsTheGoldensHiddenState) {
  const auto prompts = load_golden_encoder("bert");
  const PooledFolder folder(kFirstToken, kNoNormalize);
  TestReplica replica(options(folder.path(), ComputeDType::kF32));
  TestReplica bf16(options(folder.path(), ComputeDType::kBF16));
  const auto vectors = embed(replica, texts_of(prompts));
  const auto rounded = embed(bf16, texts_of(prompts));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<float>& hidden = prompts[i].hidden;
    if (hidden.empty()) continue;
    const std::vector<float> first(hidden.begin(),
                                   hidden.begin() + static_cast<int64_t>(vectors[i].size()));
    EXPECT_LT(worst_difference(vectors[i], first), 1e-3f) << "prompt " << i;
    double error = 0;
    for (size_t c = 0; c < first.size(); ++c) error += std::abs(rounded[i][c] - first[c]);
    error /= static_cast<double>(first.size());
    // One row of the golden's many: its error scatters around their mean.
    EXPECT_LT(error, 2 * prompts[i].bf16_mean_error) << "prompt " << i;
    EXPECT_GT(error, 1e-5) << "this run did not compute in bf16";
  }
}

INSTANTIATE_TEST_SUITE_P(Bert, EncoderPlans,
                         testing::Combine(testing::ValuesIn(kLayouts),
                                          testing::Values("reference", "cpu")),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "_" +
                                  std::get<1>(test.param);
                         });

TEST(Encoder, AVectorDoesNotDependOnItsCompany) {
  const auto texts = texts_of(load_golden_encoder("bert"));
  TestReplica replica({.model_dir = golden_dir("bert"), .compute = ComputeDType::kBF16});
  const auto together = embed(replica, texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(embed(replica, {texts[i]}, 100 + i).front(), together[i]) << "text " << i;
  }
}

std::string plan_error(const std::string& dir, const step::StepPlan& plan) {
  TestReplica replica({.model_dir = dir});
  step::StepPlan sent = plan;
  sent.header = replica.next_header(sent);
  return replica.run_bad(sent).message;
}

TEST(Encoder, PlansThatAreNotWholeTextsAreRefused) {
  const std::string bert = golden_dir("bert");
  step::StepPlan plan = embed_plan({{5, 6, 7}});
  plan.spans[0].n_tokens = 2;
  EXPECT_THAT(plan_error(bert, plan), HasSubstr("embedded in part: 2 tokens from 0 of 3"));
  plan = embed_plan({{5, 6, 7}});
  plan.spans[0].first_position = 1;
  plan.spans[0].n_tokens = 2;
  EXPECT_THAT(plan_error(bert, plan), HasSubstr("embedded in part: 2 tokens from 1 of 3"));
  plan = embed_plan({{5, 6, 7}});
  plan.spans[0].sample = true;
  EXPECT_THAT(plan_error(bert, plan), HasSubstr("wants tokens of an encoder"));
  plan.spans[0].embed = false;
  EXPECT_THAT(plan_error(bert, plan), HasSubstr("the model is an encoder"));
  EXPECT_THAT(plan_error(golden_dir("llama"), embed_plan({{5, 6, 7}})),
              HasSubstr("the model is no encoder"));
}

TEST(Encoder, PoolingFilesAreReadOrRefused) {
  const PooledFolder both(R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})",
                          kNoNormalize);
  const auto spec = plan::load_model_spec(both.path());
  ASSERT_FALSE(spec.ok());
  EXPECT_THAT(spec.error().message, HasSubstr("1_Pooling/config.json: exactly one of"));
  const PooledFolder first(kFirstToken, kNoNormalize);
  const auto read = plan::load_model_spec(first.path());
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->encoder->pooling, plan::Pooling::kFirst);
  EXPECT_FALSE(read->encoder->normalize);
}

TEST(Pooling, MeanFirstAndZeros) {
  const std::vector<float> rows = {3, 0, 1, 8};  // [2, 2]
  using Floats = std::vector<float>;
  plan::EncoderSpec encoder{.normalize = false};
  EXPECT_EQ(pool_rows(rows.data(), 2, 2, encoder), (Floats{2, 4}));
  encoder.pooling = plan::Pooling::kFirst;
  EXPECT_EQ(pool_rows(rows.data(), 2, 2, encoder), (Floats{3, 0}));
  encoder.normalize = true;
  EXPECT_EQ(pool_rows(rows.data(), 2, 2, encoder), (Floats{1, 0}));
  const std::vector<float> zeros(4, 0.0f);
  EXPECT_EQ(pool_rows(zeros.data(), 2, 2, encoder), (Floats{0, 0}));
}

}  // namespace
}  // namespace trireme::worker
