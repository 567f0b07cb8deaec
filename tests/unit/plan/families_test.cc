// What families' configs say in their own way, where the goldens do not show it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "parallel/plan/model_spec.h"
#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using nlohmann::json;
using testing::golden_spec;
using ::testing::HasSubstr;

// The config of a tiny reference model, to be changed.
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

Error error_of(const json& config) {
  const Result<ModelSpec> spec = parse_model_spec(config.dump());
  CHECK(!spec.ok());
  return spec.error();
}

// Each layer as a letter: f sees all, s slides; upper case: it does not rotate.
std::string kinds(const ModelSpec& spec) {
  std::string letters;
  for (const LayerSpec& layer : spec.layers) {
    const char letter = layer.attention == AttentionKind::kSliding ? 's' : 'f';
    letters += layer.rope < 0 ? static_cast<char>(letter - 32) : letter;
  }
  return letters;
}

TEST(Families, TheFactsOfPublishedModelsComeOutRight) {
  EXPECT_EQ(golden_spec("gpt2").n_parameters(), 124'439'808);
  EXPECT_EQ(golden_spec("granite-3.1-8b").n_parameters(), 8'170'848'256);
  EXPECT_EQ(golden_spec("gemma-2-27b").n_parameters(), 27'227'128'320);
  EXPECT_EQ(golden_spec("gemma-2-27b").n_active_parameters(), 27'227'128'320);  // tied, no experts
  EXPECT_EQ(golden_spec("gpt2").kv_bytes_per_token(DType::kBF16), 36'864);
  EXPECT_EQ(golden_spec("gemma-2-27b").kv_bytes_per_token(DType::kBF16), 376'832);
  EXPECT_EQ(golden_spec("granite-3.1-8b").context, 131'072);
}

TEST(Families, WhichLayersSlide) {
  EXPECT_EQ(kinds(parse(model_config("mistral"))), "sssss");
  EXPECT_EQ(kinds(parse(model_config("gemma2"))), "sfsf");
  EXPECT_EQ(kinds(parse(model_config("gemma3"))), "sssssf");
  EXPECT_EQ(kinds(parse(model_config("cohere2"))), "sssF");
  EXPECT_EQ(kinds(parse(model_config("gpt2"))), "FFFF");
  json qwen2 = model_config("qwen2");  // its window is there, and switched off
  EXPECT_EQ(kinds(parse(qwen2)), "ffff");
  qwen2["use_sliding_window"] = true;
  EXPECT_EQ(kinds(parse(qwen2)), "ffss");
  json mistral = model_config("mistral");
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(kinds(parse(mistral)), "fffff");
  json listed = model_config("gemma2");
  listed["layer_types"] = {"full_attention", "full_attention", "sliding_attention",
                           "full_attention"};
  EXPECT_EQ(kinds(parse(listed)), "ffsf");
  listed["layer_types"].erase(0);
  EXPECT_THAT(error_of(listed).message, HasSubstr("3 entries for 4 layers"));
  listed["layer_types"] = {"linear_attention", "full_attention", "full_attention",
                           "full_attention"};
  EXPECT_EQ(error_of(listed).code, ErrorCode::kUnimplemented);
}

TEST(Families, Gemma3HasABasePerLayerKindInBothLayouts) {
  json config = model_config("gemma3");
  const ModelSpec older = parse(config);
  config.erase("rope_theta");
  config.erase("rope_local_base_freq");
  config["rope_parameters"] = {
      {"full_attention", {{"rope_type", "default"}, {"rope_theta", 50000.0}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 3000.0}}}};
  for (const ModelSpec& spec : {older, parse(config)}) {
    ASSERT_EQ(spec.ropes.size(), 2u);
    EXPECT_EQ(spec.ropes[0].theta, 50000);
    EXPECT_EQ(spec.ropes[1].theta, 3000);
    EXPECT_EQ(spec.layers[0].rope, 1);
    EXPECT_EQ(spec.layers[5].rope, 0);
  }
}

// The text_config of the 4B release is four keys beside the class's defaults.
TEST(Families, AMultimodalGemma3IsServedAsItsTextPart) {
  const json config = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                       {"eos_token_id", {1, 106}},
                       {"torch_dtype", "bfloat16"},
                       {"vision_config", {{"hidden_size", 1152}}},
                       {"text_config",
                        {{"hidden_size", 2560},
                         {"intermediate_size", 10240},
                         {"num_hidden_layers", 34},
                         {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                         {"sliding_window", 1024}}}};
  const ModelSpec spec = parse(config);
  EXPECT_EQ(spec.n_parameters(), 3'880'263'168);
  EXPECT_EQ(spec.context, 131'072);
  EXPECT_EQ(spec.eos_ids, (std::vector<int32_t>{1, 106}));
  EXPECT_EQ(kinds(spec), "sssssfsssssfsssssfsssssfsssssfssss");
  EXPECT_EQ(spec.layers[0].span, 1024);
  EXPECT_EQ(spec.ropes[0].scaling, RopeScaling::kLinear);
  EXPECT_EQ(spec.ropes[1].scaling, RopeScaling::kNone);
  EXPECT_TRUE(spec.tied_embeddings);
  json wrong = config;
  wrong["text_config"]["num_hidden_layers"] = -3;
  EXPECT_THAT(error_of(wrong).message, HasSubstr("text_config.num_hidden_layers"));
  wrong.erase("text_config");
  EXPECT_THAT(error_of(wrong).message, HasSubstr("text_config"));
}

TEST(Families, FalconsTwoLayouts) {
  json config = model_config("falcon");
  EXPECT_EQ(parse(config).n_kv_heads, 1);
  EXPECT_EQ(parse(config).norms_per_layer, 1);
  config["new_decoder_architecture"] = true;
  config["num_kv_heads"] = 2;
  const ModelSpec grouped = parse(config);
  EXPECT_EQ(grouped.n_kv_heads, 2);
  EXPECT_EQ(grouped.norms_per_layer, 2);
  config["num_kv_heads"] = 3;
  EXPECT_THAT(error_of(config).message, HasSubstr("num_kv_heads"));
  config = model_config("falcon");
  config["alibi"] = true;
  EXPECT_THAT(error_of(config).message, HasSubstr("alibi"));
}

TEST(Families, DeepSeekV3sFactsAreThoseOfItsReport) {
  const ModelSpec spec = golden_spec("deepseek-v3");
  EXPECT_EQ(spec.n_parameters(), 671'026'419'200);
  EXPECT_EQ(spec.n_active_parameters(), 36'625'618'432);
  EXPECT_EQ(spec.kv_bytes_per_token(DType::kBF16), 61 * (512 + 64) * 2);
  EXPECT_EQ(spec.n_predict_layers, 1);
  EXPECT_EQ(spec.head_dim, 192);
  // YaRN of 40: (0.1 ln 40 + 1)^2 goes into the scores, and cos and sin keep their length.
  EXPECT_NEAR(spec.attention_scale, 1.3688879f * 1.3688879f / std::sqrt(192.0f), 1e-6);
  EXPECT_EQ(spec.ropes.at(0).cos_sin_scale(), 1);
  EXPECT_EQ(spec.ropes.at(0).rotary_dim, 64);
  EXPECT_EQ(spec.ropes.at(0).layout, RopeLayout::kInterleaved);
  for (int i = 0; i < spec.n_layers(); ++i) {
    EXPECT_EQ(spec.layers[static_cast<size_t>(i)].moe, i >= 3) << i;
  }
}

TEST(Families, DeepSeeksTwoWaysToChooseExperts) {
  const MoeSpec v2 = *parse(model_config("deepseek_v2")).moe;
  EXPECT_EQ(v2.scoring, ExpertScoring::kSoftmax);
  EXPECT_EQ(v2.group_score, GroupScore::kMax);
  EXPECT_EQ(v2.n_groups, 4);
  EXPECT_EQ(v2.n_chosen_groups, 2);
  EXPECT_EQ(v2.shared_width, 64);
  EXPECT_FALSE(v2.renormalize);
  EXPECT_FALSE(v2.choice_bias);
  const MoeSpec v3 = *parse(model_config("deepseek_v3")).moe;
  EXPECT_EQ(v3.scoring, ExpertScoring::kSigmoid);
  EXPECT_EQ(v3.group_score, GroupScore::kTopTwoSum);
  EXPECT_EQ(v3.weight_scale, 2.5f);
  EXPECT_TRUE(v3.renormalize);
  EXPECT_TRUE(v3.choice_bias);

  json lite = model_config("deepseek_v2");  // V2-Lite chooses among all
  lite["topk_method"] = "greedy";
  EXPECT_EQ(parse(lite).moe->group_score, GroupScore::kNone);
  EXPECT_EQ(parse(lite).moe->n_groups, 1);
  json one_group = model_config("deepseek_v3");  // as Kimi K2 and Moonlight
  one_group["n_group"] = one_group["topk_group"] = 1;
  EXPECT_EQ(parse(one_group).moe->group_score, GroupScore::kNone);
  json crowded = model_config("deepseek_v3");
  crowded["n_group"] = 8;
  crowded["topk_group"] = 1;  // two experts, of which each token is to take four
  EXPECT_THAT(error_of(crowded).message, HasSubstr("num_experts_per_tok"));
  json silent = model_config("deepseek_v3");
  silent.erase("topk_group");
  EXPECT_THAT(error_of(silent).message, HasSubstr("topk_group"));
  json sparse = model_config("deepseek_v3");
  sparse["moe_layer_freq"] = 2;
  EXPECT_FALSE(parse(sparse).layers[1].moe);
  EXPECT_TRUE(parse(sparse).layers[2].moe);
}

TEST(Families, TheLargestConfigsCountWithoutOverflow) {
  json config = model_config("mixtral");
  config["hidden_size"] = 1 << 17;
  config["num_attention_heads"] = 64;
  config["num_hidden_layers"] = 1 << 10;
  config["num_local_experts"] = 1 << 12;
  config["intermediate_size"] = 1 << 18;
  EXPECT_GT(parse(config).weight_bytes(DType::kF32), int64_t{3} << 59);
  config["intermediate_size"] = 1 << 19;
  EXPECT_THAT(error_of(config).message, HasSubstr("intermediate_size"));
}

TEST(Families, WhatWouldChangeTheArithmeticIsRefusedByName) {
  const auto refused = [](const char* model, const char* key, const json& value) {
    json config = model_config(model);
    config[key] = value;
    const Error error = error_of(config);
    EXPECT_EQ(error.code, ErrorCode::kUnimplemented) << key;
    EXPECT_THAT(error.message, HasSubstr(key));
  };
  refused("mistral", "hidden_act", "gelu");
  refused("gpt2", "scale_attn_by_inverse_layer_idx", true);
  refused("gpt2", "activation_function", "mish");
  refused("gpt_neox", "use_parallel_residual", false);
  refused("olmo2", "attention_bias", true);
  refused("starcoder2", "norm_type", "rms_norm");
  refused("cohere2", "use_qk_norm", true);
  refused("deepseek_v2", "norm_topk_prob", true);
  refused("deepseek_v2", "topk_method", "noaux_tc");
  refused("deepseek_v2", "attention_bias", true);
  refused("deepseek_v3", "scoring_func", "softmax");
}

}  // namespace
}  // namespace trireme::plan
