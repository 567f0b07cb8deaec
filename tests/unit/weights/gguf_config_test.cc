// GGUF metadata as a config.json: equal to the config of the checkpoint it was made from.
#include "parallel/plan/gguf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "parallel/plan/model_spec.h"
#include "tests/unit/weights/file_builders.h"
#include "tests/unit/weights/format_goldens.h"

namespace trireme::worker {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

json config_of(const std::string& path) {
  const auto file = find_gguf(path);
  CHECK(file.ok() && file->has_value()) << path;
  const auto gguf = Gguf::open(**file);
  CHECK(gguf.ok()) << gguf.error().message;
  const auto text = plan::gguf_config_json(**gguf);
  CHECK(text.ok()) << text.error().message;
  return json::parse(*text);
}

TEST(GgufConfig, EqualsTheConfigOfTheOriginal) {
  int n_files = 0;
  for (const std::string& name : format_golden_names()) {
    if (!name.starts_with("gguf/")) continue;
    SCOPED_TRACE(name);
    std::ifstream stream(format_golden_dir(name) + "/golden.json");
    const json golden = json::parse(stream);
    if (!golden.contains("config")) continue;
    ++n_files;
    const json& original = golden["config"];
    const json config = config_of(format_golden_dir(name));
    for (const char* key : {"architectures", "hidden_size", "intermediate_size",
                            "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                            "vocab_size", "max_position_embeddings", "tie_word_embeddings"}) {
      // Grok-1's tensors are shown by the names of its conversions, whichever it came from.
      if (key == std::string("architectures") && name.find("grok") != name.npos) continue;
      if (original.contains(key)) {
        EXPECT_EQ(config[key], original[key]) << key;
      }
    }
    for (const char* key : {"rms_norm_eps", "rope_theta"}) {
      EXPECT_FLOAT_EQ(config[key].get<float>(), original[key].get<float>()) << key;
    }
    if (config.contains("head_dim")) {
      EXPECT_EQ(config["head_dim"], original["head_dim"]);
    }
    if (golden.contains("rope_freqs_divisors")) {
      const auto& factors = config["rope_scaling"]["long_factor"];
      ASSERT_EQ(factors.size(), golden["rope_freqs_divisors"].size());
      for (size_t i = 0; i < factors.size(); ++i) {
        EXPECT_NEAR(factors[i].get<double>(), golden["rope_freqs_divisors"][i].get<double>(), 1e-5);
      }
    } else {
      EXPECT_FALSE(config.contains("rope_scaling"));
    }
  }
  EXPECT_GE(n_files, 2);  // what a checkout holds; more where the outside goldens are beside it
}

GgufBuilder llama() {
  GgufBuilder file;
  file.text("general.architecture", "llama")
      .u32("llama.block_count", 1)
      .u32("llama.context_length", 64)
      .u32("llama.embedding_length", 8)
      .u32("llama.feed_forward_length", 16)
      .u32("llama.attention.head_count", 2)
      .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .f32_tensor("token_embd.weight", {3, 8}, std::vector<float>(24, 1));
  return file;
}

// The config, or the error.
std::string config_text(const GgufBuilder& file) {
  const TempDir dir;
  write_file(dir / "m.gguf", file.bytes());
  const auto gguf = Gguf::open(dir / "m.gguf");
  CHECK(gguf.ok()) << gguf.error().message;
  const auto text = plan::gguf_config_json(**gguf);
  return text.ok() ? *text : text.error().to_string();
}

TEST(GgufConfig, ReadsScalingAndEndsOfText) {
  EXPECT_THAT(config_text(llama()), HasSubstr(R"("tie_word_embeddings":true)"));
  GgufBuilder file = llama();
  file.text("llama.rope.scaling.type", "yarn")
      .f32("llama.rope.scaling.factor", 4)
      .u32("llama.rope.scaling.original_context_length", 16)
      .u32("tokenizer.ggml.eos_token_id", 2)
      .u32("tokenizer.ggml.eot_token_id", 1)
      .u32("tokenizer.ggml.bos_token_id", 0);
  const json config = json::parse(config_text(file));
  EXPECT_EQ(
      config["rope_scaling"],
      (json{{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}}));
  EXPECT_EQ(config["eos_token_id"], (json{2, 1}));
  EXPECT_EQ(config["bos_token_id"], 0);
  const json experts = json::parse(
      config_text(llama().u32("llama.expert_count", 8).u32("llama.expert_used_count", 2)));
  EXPECT_EQ(experts["architectures"][0], "MixtralForCausalLM");
  EXPECT_EQ(experts["num_local_experts"], 8);
}

TEST(GgufConfig, WhatIsNotUnderstoodIsRefused) {
  EXPECT_THAT(config_text(GgufBuilder().text("general.architecture", "mamba")),
              AllOf(HasSubstr("unimplemented"), HasSubstr("mamba"), HasSubstr("llama")));
  EXPECT_THAT(config_text(GgufBuilder().text("x", "y")), HasSubstr("general.architecture"));
  EXPECT_THAT(config_text(llama().f32("llama.attention.scale", 0.5f)),
              AllOf(HasSubstr("unimplemented"), HasSubstr("llama.attention.scale")));
  EXPECT_THAT(config_text(llama().f32("llama.logit_scale", 0.5f)), HasSubstr("llama.logit_scale"));
  EXPECT_THAT(config_text(llama().flag("llama.use_parallel_residual", true)),
              HasSubstr("use_parallel_residual"));
  EXPECT_THAT(config_text(llama().u32("llama.attention.sliding_window", 16)),
              HasSubstr("sliding_window"));
  EXPECT_THAT(config_text(llama().u32("llama.rope.dimension_count", 2)),
              HasSubstr("rope.dimension_count"));
  EXPECT_THAT(config_text(llama().text("llama.rope.scaling.type", "longrope")),
              HasSubstr("rope.scaling.type"));
  EXPECT_THAT(config_text(llama().u32("llama.vocab_size", 4)), HasSubstr("llama.vocab_size"));
  EXPECT_THAT(config_text(llama().i32s("llama.attention.head_count_kv", {1, 2})),
              HasSubstr("head_count_kv"));
  EXPECT_THAT(config_text(llama().f32_tensor("rope_freqs.weight", {2}, {1, -1})),
              HasSubstr("rope_freqs.weight"));
}

}  // namespace
}  // namespace trireme::worker
