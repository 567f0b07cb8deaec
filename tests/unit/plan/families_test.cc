// What families' configs say in their own way, where the goldens do not show it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
}

}  // namespace
}  // namespace trireme::plan
