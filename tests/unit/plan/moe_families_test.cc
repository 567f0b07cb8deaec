// Families with experts: what their configs say, what published ones come to, how experts are cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/cluster_config.h"
#include "parallel/plan/memory_budget.h"
#include "parallel/plan/model_size.h"
#include "parallel/plan/parallel_plan.h"
#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::golden_spec;
using ::testing::HasSubstr;

json model_config(const std::string& model) {
  std::ifstream file(std::string(TRIREME_SOURCE_DIR) + "/tests/golden/models/" + model +
                     "/config.json");
  CHECK(file.good()) << model;
  return json::parse(file);
}

ModelSpec parse(const json& config) {
  const Result<ModelSpec> spec = parse_model_spec(config.dump());
  CHECK(spec.ok()) << spec.error().message;
  return *spec;
}

std::string error_of(const json& config) {
  const Result<ModelSpec> spec = parse_model_spec(config.dump());
  return spec.ok() ? "accepted" : spec.error().to_string();
}

// Layers with experts as an upper-case letter; c sees its chunk, s slides, f sees all.
std::string kinds(const ModelSpec& spec) {
  std::string letters;
  for (const LayerSpec& layer : spec.layers) {
    char letter = 'f';
    if (layer.attention == AttentionKind::kChunked) letter = 'c';
    if (layer.attention == AttentionKind::kSliding) letter = 's';
    letters += layer.moe ? static_cast<char>(letter - 32) : letter;
  }
  return letters;
}

// Counted by hand from the published shapes. What a token meets does not count its row of an
// embedding that is not the head too.
TEST(MoeFamilies, TheFactsOfPublishedModelsComeOutRight) {
  struct Facts {
    const char* model;
    int64_t total;
    int64_t active;
    int64_t kv_bytes_per_token;
  };
  for (const Facts& facts : {Facts{"mixtral-8x7b", 46'702'792'704, 12'748'853'248, 131'072},
                             {"mixtral-8x22b", 140'620'634'112, 38'955'423'744, 229'376},
                             {"qwen3-235b-a22b", 235'093'634'560, 21'568'433'664, 192'512},
                             {"gpt-oss-120b", 116'829'156'672, 5'132'849'472, 73'728},
                             // "314 B" in its announcement.
                             {"grok-1", 315'684'820'992, 83'756'587'008, 262'144}}) {
    SCOPED_TRACE(facts.model);
    const ModelSpec spec = golden_spec(facts.model);
    EXPECT_EQ(spec.n_parameters(), facts.total);
    EXPECT_EQ(spec.n_active_parameters(), facts.active);
    EXPECT_EQ(spec.kv_bytes_per_token(DType::kBF16), facts.kv_bytes_per_token);
  }
}

TEST(MoeFamilies, WhichLayersHaveExperts) {
  EXPECT_EQ(kinds(parse(model_config("mixtral"))), "FFFF");
  EXPECT_EQ(kinds(parse(model_config("qwen2_moe"))), "FFFF");
  EXPECT_EQ(kinds(parse(model_config("gpt_oss"))), "SFSF");
  EXPECT_EQ(kinds(parse(model_config("llama4"))), "cCcF");
  json qwen = model_config("qwen3_moe");
  EXPECT_EQ(kinds(parse(qwen)), "FfFF");
  qwen["decoder_sparse_step"] = 2;
  EXPECT_EQ(kinds(parse(qwen)), "fffF");
  qwen["mlp_only_layers"] = json::array();
  EXPECT_EQ(kinds(parse(qwen)), "fFfF");
  qwen["mlp_only_layers"] = {4};
  EXPECT_THAT(error_of(qwen), HasSubstr("mlp_only_layers"));
}

TEST(MoeFamilies, Llama4sSwitches) {
  json config = model_config("llama4");
  config["moe_layers"] = {0, 3};
  config["no_rope_layers"] = json::array();  // each fourth, then
  EXPECT_EQ(kinds(parse(config)), "CccF");
  config["no_rope_layers"] = {1, 0};
  EXPECT_THAT(error_of(config), HasSubstr("2 entries for 4 layers"));
  config = model_config("llama4");
  EXPECT_FLOAT_EQ(parse(config).temperature_scale, 0.6f);
  for (const json& off : {json(false), json(0)}) {
    config["attn_temperature_tuning"] = off;
    EXPECT_EQ(parse(config).floor_scale, 0);
  }
  config["attn_temperature_tuning"] = 4;
  EXPECT_EQ(parse(config).floor_scale, 16);
}

// The multimodal classes keep the text part's config under text_config.
TEST(MoeFamilies, Llama4InAMultimodalConfig) {
  const json text = model_config("llama4");
  json config = {{"architectures", {"Llama4ForConditionalGeneration"}}, {"text_config", text}};
  const ModelSpec spec = parse(config);
  EXPECT_EQ(spec.family, "llama4");
  EXPECT_EQ(spec.n_parameters(), parse(text).n_parameters());
  config["text_config"]["text_config"] = text;
  EXPECT_THAT(error_of(config), HasSubstr("another text_config"));
  config["text_config"] = 3;
  EXPECT_THAT(error_of(config), HasSubstr("text_config"));
}

TEST(MoeFamilies, AbsurdExpertsAreRefusedByName) {
  for (const char* key : {"num_local_experts", "num_experts_per_tok", "intermediate_size"}) {
    for (const json& value : {json(0), json(-1), json(int64_t{1} << 40), json("8")}) {
      json config = model_config("mixtral");
      config[key] = value;
      EXPECT_THAT(error_of(config), HasSubstr(key));
    }
    json config = model_config("mixtral");
    config.erase(key);
    EXPECT_THAT(error_of(config), HasSubstr(key));
  }
  json config = model_config("mixtral");
  config["num_experts_per_tok"] = 9;
  EXPECT_THAT(error_of(config), HasSubstr("there are 8 experts"));
  config = model_config("gpt_oss");
  config["swiglu_limit"] = 0;
  EXPECT_THAT(error_of(config), HasSubstr("swiglu_limit"));
  config = model_config("granitemoe");
  config["hidden_act"] = "gelu";
  EXPECT_THAT(error_of(config), HasSubstr("hidden_act"));
}

TEST(MoeFamilies, ExpertsAreDealtWholeOrCutEach) {
  const ModelSpec spec = golden_spec("mixtral-8x7b");
  const auto whole = make_parallel_plan(spec, {.tp = 4, .experts = ExpertCut::kExpert});
  const auto cut = make_parallel_plan(spec, {.tp = 4, .experts = ExpertCut::kTensor});
  EXPECT_EQ(whole->ranks[3].experts, (Range{6, 8}));
  EXPECT_EQ(whole->ranks[3].expert_columns, (Range{0, 14336}));
  EXPECT_EQ(cut->ranks[3].experts, (Range{0, 8}));
  EXPECT_EQ(cut->ranks[3].expert_columns, (Range{10752, 14336}));
  // More ranks than experts: only slices fit.
  const auto sixteen = make_parallel_plan(spec, {.tp = 16, .experts = ExpertCut::kExpert});
  ASSERT_FALSE(sixteen.ok());
  EXPECT_THAT(sixteen.error().message, HasSubstr("only 8 experts"));
  EXPECT_TRUE(make_parallel_plan(spec, {.tp = 16, .experts = ExpertCut::kTensor}).ok());
}

TEST(MoeFamilies, TheClusterFileSaysHowExpertsAreCut) {
  ReplicaConfig config;
  config.tp = 2;
  config.pp = 3;
  config.stage_layers = {1, 2, 3};
  ParallelOptions options = parallel_options(config);
  EXPECT_EQ(options.tp, 2);
  EXPECT_EQ(options.pp, 3);
  EXPECT_THAT(options.stage_layers, ElementsAre(1, 2, 3));
  EXPECT_EQ(options.experts, ExpertCut::kExpert);
  config.experts = "tensor";
  options = parallel_options(config);
  EXPECT_EQ(options.experts, ExpertCut::kTensor);
}

// The dense layers of a model with experts in a few are cheap: the stage that has only those takes
// more of them.
TEST(MoeFamilies, StagesAreCutByWhatATokenMeets) {
  ModelSpec spec = golden_spec("mixtral-8x7b");
  spec.intermediate = 256;
  for (size_t i = 0; i < 16; ++i) spec.layers[i].moe = false;
  const auto plan = make_parallel_plan(spec, {.pp = 2});
  ASSERT_TRUE(plan.ok());
  EXPECT_GT(plan->ranks[0].layers.size(), 16);
  EXPECT_LT(plan->ranks[0].layers.size(), 28);
}

TEST(MoeFamilies, MemoryCountsExpertsAndTheirRows) {
  const ModelSpec spec = golden_spec("mixtral-8x7b");
  const auto plan = make_parallel_plan(spec, {.tp = 2});
  const RankMemory rank = rank_memory(spec, *plan, 0, {.max_step_tokens = 512});
  const int64_t experts = 32 * 4 * int64_t{3} * 4096 * 14336;
  EXPECT_GT(rank.weight_bytes, 2 * experts);
  EXPECT_LT(rank.weight_bytes, 2 * experts * 21 / 20);
  // Each of 512 tokens goes to two experts: their inputs, gates, products and outputs.
  EXPECT_GT(rank.activation_bytes, 512 * 2 * (2 * 4096 + 3 * 14336) * int64_t{4});
}

}  // namespace
}  // namespace trireme::plan
