#include "parallel/plan/model_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::golden_spec;
using ::testing::HasSubstr;

json minimal() {
  return json::parse(R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    "intermediate_size": 160, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 512})");
}

Result<ModelSpec> parse(const json& config) { return parse_model_spec(config.dump()); }

// The error of the minimal config with one key set to `value`.
Error error_with(const char* key, const json& value) {
  json config = minimal();
  config[key] = value;
  const Result<ModelSpec> spec = parse(config);
  EXPECT_FALSE(spec.ok()) << key << " = " << value;
  return spec.ok() ? Error{} : spec.error();
}

TEST(ModelSpec, TheFactsOfPublishedModelsComeOutRight) {
  const ModelSpec big = golden_spec("llama-3.1-405b");
  EXPECT_EQ(big.n_parameters(), 405'853'388'800);
  EXPECT_EQ(big.weight_bytes(DType::kBF16), 811'706'777'600);
  EXPECT_EQ(big.kv_bytes_per_token(DType::kBF16), 516'096);
  const ModelSpec small = golden_spec("llama-3.1-8b");
  EXPECT_EQ(small.n_parameters(), 8'030'261'248);
  EXPECT_EQ(small.kv_bytes_per_token(DType::kBF16), 131'072);
  EXPECT_EQ(small.head_dim, 128);
  EXPECT_EQ(golden_spec("llama-3.1-70b").n_parameters(), 70'553'706'496);
  EXPECT_EQ(golden_spec("llama-3.2-1b").n_parameters(), 1'235'814'400);
  EXPECT_EQ(golden_spec("llama-2-7b").n_parameters(), 6'738'415'616);
}

TEST(ModelSpec, ReadsWhatALlama3ConfigSays) {
  const ModelSpec spec = golden_spec("llama-3.1-70b");
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.context, 131072);
  EXPECT_EQ(spec.ropes[0].scaling, RopeScaling::kLlama3);
  EXPECT_EQ(spec.ropes[0].theta, 500000);
  EXPECT_EQ(spec.ropes[0].factor, 8);
  EXPECT_EQ(spec.ropes[0].original_context, 8192);
  EXPECT_EQ(spec.ropes[0].rotary_dim, 128);
  EXPECT_THAT(spec.eos_ids, ElementsAre(128001, 128008, 128009));
  EXPECT_EQ(spec.bos_id, 128000);
  EXPECT_FLOAT_EQ(spec.norm_eps, 1e-5f);
  EXPECT_FALSE(spec.tied_embeddings);
}

TEST(ModelSpec, AbsentKeysHaveTheArchitecturesDefaults) {
  const Result<ModelSpec> spec = parse(minimal());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->n_kv_heads, 4);
  EXPECT_EQ(spec->head_dim, 16);
  EXPECT_EQ(spec->context, 2048);
  EXPECT_EQ(spec->ropes[0].theta, 10000);
  EXPECT_FLOAT_EQ(spec->norm_eps, 1e-6f);
  EXPECT_TRUE(spec->eos_ids.empty());
  EXPECT_FALSE(spec->bos_id.has_value());
}

TEST(ModelSpec, ReadsOlderAndNewerLayouts) {
  json legacy = minimal();
  legacy["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  legacy["eos_token_id"] = json::array({2, 3});
  Result<ModelSpec> spec = parse(legacy);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->ropes[0].scaling, RopeScaling::kLinear);
  EXPECT_EQ(spec->ropes[0].factor, 4);
  EXPECT_THAT(spec->eos_ids, ElementsAre(2, 3));

  json newer = minimal();
  newer["dtype"] = "float16";
  newer["rope_parameters"] = {{"rope_theta", 20000.0}, {"rope_type", "default"}};
  spec = parse(newer);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->weight_dtype, DType::kF16);
  EXPECT_EQ(spec->ropes[0].theta, 20000);
  EXPECT_EQ(spec->ropes[0].scaling, RopeScaling::kNone);

  newer["rope_parameters"] = {{"rope_theta", 5000.0},    {"rope_type", "llama3"},
                              {"factor", 8.0},           {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 32}};
  spec = parse(newer);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->ropes[0].scaling, RopeScaling::kLlama3);
  EXPECT_EQ(spec->ropes[0].original_context, 32);

  json nulls = minimal();
  for (const char* key : {"rope_scaling", "head_dim", "num_key_value_heads", "eos_token_id"}) {
    nulls[key] = nullptr;
  }
  EXPECT_TRUE(parse(nulls).ok());
}

TEST(ModelSpec, AbsurdSizesAreRefusedByName) {
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
        "vocab_size", "max_position_embeddings", "num_key_value_heads"}) {
    for (const json& value : {json(0), json(-1), json(int64_t{1} << 40), json(UINT64_MAX),
                              json(1.5), json("64"), json(true), json::array({64})}) {
      const Error error = error_with(key, value);
      EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
      EXPECT_THAT(error.message, HasSubstr(key));
    }
  }
  EXPECT_THAT(error_with("head_dim", 15).message, HasSubstr("head_dim"));
  EXPECT_THAT(error_with("head_dim", 0).message, HasSubstr("head_dim"));
  EXPECT_THAT(error_with("num_key_value_heads", 3).message, HasSubstr("num_key_value_heads"));
  EXPECT_THAT(error_with("hidden_size", 66).message, HasSubstr("head_dim"));
  EXPECT_THAT(error_with("rms_norm_eps", 0).message, HasSubstr("rms_norm_eps"));
  EXPECT_THAT(error_with("rms_norm_eps", -1).message, HasSubstr("rms_norm_eps"));
  EXPECT_THAT(error_with("rope_theta", 0).message, HasSubstr("rope_theta"));
  EXPECT_THAT(error_with("rope_theta", 1e300).message, HasSubstr("rope_theta"));
  EXPECT_THAT(error_with("eos_token_id", 512).message, HasSubstr("eos_token_id"));
  EXPECT_THAT(error_with("eos_token_id", -1).message, HasSubstr("eos_token_id"));
  EXPECT_THAT(error_with("eos_token_id", "</s>").message, HasSubstr("eos_token_id"));
  EXPECT_THAT(error_with("tie_word_embeddings", "yes").message, HasSubstr("tie_word_embeddings"));
}

// Each size is one that some model might have; their product overflows what bytes are counted in.
TEST(ModelSpec, SizesThatAreAbsurdTogetherAreRefused) {
  json config = minimal();
  config["num_hidden_layers"] = 1 << 10;
  config["num_attention_heads"] = 1 << 12;
  config["hidden_size"] = 1 << 17;
  config["head_dim"] = 1 << 12;
  config["max_position_embeddings"] = 1 << 28;
  EXPECT_THAT(parse(config).error().message, HasSubstr("'max_position_embeddings'"));
  config["max_position_embeddings"] = 1 << 20;
  EXPECT_TRUE(parse(config).ok());
}

TEST(ModelSpec, AnAbsentSizeIsNamed) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads",
                          "intermediate_size", "vocab_size", "architectures"}) {
    json config = minimal();
    config.erase(key);
    const Result<ModelSpec> spec = parse(config);
    ASSERT_FALSE(spec.ok());
    EXPECT_EQ(spec.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(spec.error().message, HasSubstr(key));
  }
}

TEST(ModelSpec, BadRopeScalingIsRefusedByName) {
  const json good = {{"rope_type", "llama3"},
                     {"factor", 8.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0},
                     {"original_max_position_embeddings", 32}};
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, json>>{{"factor", 0},
                                                 {"factor", -8},
                                                 {"low_freq_factor", 0},
                                                 {"high_freq_factor", 1.0},
                                                 {"original_max_position_embeddings", 0},
                                                 {"factor", nullptr}}) {
    json scaling = good;
    scaling[key] = value;
    EXPECT_THAT(error_with("rope_scaling", scaling).message, HasSubstr(key));
  }
  EXPECT_EQ(error_with("rope_scaling", {{"type", "ntk"}, {"factor", 2}}).code,
            ErrorCode::kUnimplemented);
  EXPECT_THAT(error_with("rope_scaling", 3).message, HasSubstr("rope_scaling"));
}

TEST(ModelSpec, WhatIsNotServedSaysSoAndWhatIs) {
  const Error error = error_with("architectures", json::array({"T5ForConditionalGeneration"}));
  EXPECT_EQ(error.code, ErrorCode::kUnimplemented);
  EXPECT_THAT(error.message, HasSubstr("T5ForConditionalGeneration"));
  EXPECT_THAT(error.message, HasSubstr("LlamaForCausalLM"));
  EXPECT_EQ(error_with("hidden_act", "gelu").code, ErrorCode::kUnimplemented);
  EXPECT_EQ(error_with("quantization_config", {{"quant_method", "hqq"}}).code,
            ErrorCode::kUnimplemented);
  EXPECT_EQ(error_with("partial_rotary_factor", 0.5).code, ErrorCode::kUnimplemented);
  EXPECT_EQ(error_with("torch_dtype", "int3").code, ErrorCode::kUnimplemented);
}

TEST(ModelSpec, WhatIsNotJsonIsRefusedWithItsPlace) {
  EXPECT_THAT(parse_model_spec(R"({"rms_norm_eps": NaN})").error().message,
              HasSubstr("rms_norm_eps"));
  EXPECT_THAT(parse_model_spec(R"({"rope_theta": 1e400})").error().message,
              HasSubstr("rope_theta"));
  EXPECT_FALSE(parse_model_spec("").ok());
  EXPECT_FALSE(parse_model_spec("[]").ok());
  EXPECT_FALSE(parse_model_spec("{} {}").ok());
  EXPECT_THAT(parse_model_spec(std::string(10'000, '[')).error().message, HasSubstr("deeper"));
  EXPECT_THAT(parse_model_spec(std::string(2 << 20, ' ')).error().message, HasSubstr("at most"));
}

TEST(ModelSpec, AMissingFileIsNotFound) {
  EXPECT_EQ(load_model_spec("/nowhere/at/all").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(load_model_spec("/dev/zero").error().code, ErrorCode::kNotFound);
}

TEST(ModelSpec, AFolderThatIsNoModelSaysWhatItIs) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(::testing::TempDir()) / "no_model";
  const auto error_beside = [&](const char* name) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    if (std::string(name).ends_with('/')) fs::create_directories(folder / name);
    if (fs::path(name).has_extension()) std::ofstream(folder / name) << "{}";
    const Error error = load_model_spec(folder.string()).error();
    EXPECT_EQ(error.code, ErrorCode::kNotFound);
    return error.message;
  };
  EXPECT_THAT(error_beside("README.md"), HasSubstr("no config.json"));
  EXPECT_THAT(error_beside(""), HasSubstr("empty"));
  EXPECT_THAT(error_beside("adapter_config.json"), HasSubstr("LoRA"));
  EXPECT_THAT(error_beside("snapshots/"), HasSubstr("snapshots"));
  EXPECT_THAT(error_beside("params.json"), HasSubstr("another layout"));
  std::ofstream(folder / "config.json") << "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_THAT(load_model_spec(folder.string()).error().message, HasSubstr("git-lfs"));
  fs::remove_all(folder);
}

TEST(ModelSpec, CodeThatAModelBringsIsNamed) {
  json config = minimal();
  config["architectures"] = {"BaichuanForCausalLM"};
  config["auto_map"] = {{"AutoConfig", "configuration_baichuan.BaichuanConfig"}};
  EXPECT_THAT(parse_model_spec(config.dump()).error().message, HasSubstr("never run"));
}

}  // namespace
}  // namespace trireme::plan
