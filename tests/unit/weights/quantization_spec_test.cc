// quantization_config: what is read, what is refused, and which modules it leaves alone.
#include "parallel/plan/quantization_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace trireme::plan {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using LeftAlone = QuantizationSpec::LeftAlone;

Result<QuantizationSpec> parse(const json& quantization) {
  return parse_quantization(json{{"quantization_config", quantization}}.dump());
}

std::string error_of(const json& quantization) {
  const auto spec = parse(quantization);
  return spec.ok() ? "accepted" : spec.error().to_string();
}

json compressed(const json& weights, const std::string& format) {
  return {{"quant_method", "compressed-tensors"},
          {"format", format},
          {"ignore", {"lm_head"}},
          {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}}};
}

TEST(QuantizationSpec, ReadsTheReleaseForms) {
  EXPECT_FALSE(parse_quantization("{}")->enabled());
  EXPECT_FALSE(parse(nullptr)->enabled());
  const auto blocks =
      parse({{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 64}}});
  ASSERT_TRUE(blocks.ok()) << blocks.error().message;
  EXPECT_EQ(blocks->layout, QuantLayout::kScaled);
  EXPECT_EQ(blocks->scale, QuantScale::kBlock);
  EXPECT_EQ(blocks->block_rows, 128);
  EXPECT_EQ(blocks->block_columns, 64);
  EXPECT_EQ(blocks->scale_suffix, "weight_scale_inv");
  const auto whole = parse({{"quant_method", "fp8"}, {"activation_scheme", "static"}});
  EXPECT_EQ(whole->scale, QuantScale::kTensor);
  EXPECT_EQ(parse({{"quant_method", "mxfp4"}})->layout, QuantLayout::kMxfp4);
  const auto awq = parse({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}});
  EXPECT_EQ(awq->layout, QuantLayout::kAwq);
  EXPECT_EQ(awq->group_size, 64);
  const auto gptq = parse({{"quant_method", "gptq"}, {"bits", 8}, {"group_size", -1}});
  EXPECT_EQ(gptq->bits, 8);
  EXPECT_EQ(gptq->group_size, 0);
  EXPECT_TRUE(gptq->zeros_minus_one);
  EXPECT_FALSE(parse({{"quant_method", "gptq"}, {"bits", 4}, {"checkpoint_format", "gptq_v2"}})
                   ->zeros_minus_one);
  const auto old = parse_quantize_config(R"({"bits": 4, "group_size": 32, "desc_act": true})");
  EXPECT_EQ(old->layout, QuantLayout::kGptq);
  EXPECT_EQ(old->group_size, 32);
  const auto ints = parse(
      compressed({{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}, {"symmetric", true}},
                 "int-quantized"));
  EXPECT_EQ(ints->element, QuantElement::kInt8);
  EXPECT_EQ(ints->scale, QuantScale::kChannel);
  const auto packed = parse(compressed({{"num_bits", 4},
                                        {"type", "int"},
                                        {"strategy", "group"},
                                        {"group_size", 32},
                                        {"symmetric", false}},
                                       "pack-quantized"));
  EXPECT_EQ(packed->layout, QuantLayout::kPackedInts);
  EXPECT_EQ(packed->group_size, 32);
  EXPECT_FALSE(packed->symmetric);
}

TEST(QuantizationSpec, WhatIsNotReadSaysSo) {
  EXPECT_THAT(error_of({{"quant_method", "bitsandbytes"}}),
              AllOf(HasSubstr("unimplemented"), HasSubstr("bitsandbytes"), HasSubstr("awq")));
  EXPECT_THAT(error_of(json::object()), HasSubstr("quant_method"));
  EXPECT_THAT(error_of("fp8"), HasSubstr("quantization_config"));
  EXPECT_THAT(error_of({{"quant_method", "fp8"}, {"fmt", "e5m2"}}),
              AllOf(HasSubstr("unimplemented"), HasSubstr("e5m2")));
  EXPECT_THAT(error_of({{"quant_method", "fp8"}, {"weight_block_size", {128}}}),
              HasSubstr("weight_block_size"));
  EXPECT_THAT(error_of({{"quant_method", "fp8"}, {"weight_block_size", {0, 128}}}),
              HasSubstr("weight_block_size"));
  EXPECT_THAT(error_of({{"quant_method", "awq"}, {"bits", 3}}), HasSubstr("3 bits"));
  EXPECT_THAT(error_of({{"quant_method", "awq"}, {"bits", 4}, {"version", "gemv"}}),
              HasSubstr("gemv"));
  EXPECT_THAT(error_of({{"quant_method", "awq"}, {"bits", 4}, {"zero_point", false}}),
              HasSubstr("zero points"));
  EXPECT_THAT(error_of({{"quant_method", "gptq"}, {"bits", 3}}), HasSubstr("3 bits"));
  EXPECT_THAT(error_of({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 0}}),
              HasSubstr("group_size"));
  EXPECT_THAT(error_of({{"quant_method", "gptq"}, {"bits", 4}, {"checkpoint_format", "marlin"}}),
              HasSubstr("marlin"));
  EXPECT_THAT(error_of(compressed({{"num_bits", 4}, {"type", "float"}}, "nvfp4-pack-quantized")),
              HasSubstr("nvfp4"));
  EXPECT_THAT(error_of(compressed({{"num_bits", 8}, {"type", "int"}, {"symmetric", false}},
                                  "int-quantized")),
              HasSubstr("asymmetric"));
  json two =
      compressed({{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}}, "float-quantized");
  two["config_groups"]["group_1"] = {
      {"weights", {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}}}};
  EXPECT_THAT(error_of(two), HasSubstr("different"));
  json none = two;
  none["config_groups"] = json::object();
  EXPECT_THAT(error_of(none), HasSubstr("config_groups"));
  // Only the cache is quantised.
  none["kv_cache_scheme"] = {{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}};
  EXPECT_EQ(error_of(none), "accepted");
  json sparse = compressed({{"num_bits", 8}, {"type", "float"}}, "float-quantized");
  sparse["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
  EXPECT_THAT(error_of(sparse), HasSubstr("sparse"));
  EXPECT_THAT(error_of({{"quant_method", "mxfp4"}, {"modules_to_not_convert", "lm_head"}}),
              HasSubstr("modules_to_not_convert"));
  EXPECT_THAT(error_of({{"quant_method", "mxfp4"}, {"modules_to_not_convert", {1}}}),
              HasSubstr("modules_to_not_convert"));
}

TEST(QuantizationSpec, ModulesThatAreLeftAlone) {
  QuantizationSpec spec;
  const std::string gate = "model.layers.3.mlp.gate";
  const std::string gate_proj = "model.layers.3.mlp.gate_proj";
  EXPECT_EQ(spec.left_alone(gate), LeftAlone::kNo);
  const auto covers = [&](const std::string& entry, const std::string& module) {
    spec.not_converted = {entry};
    return spec.left_alone(module) == LeftAlone::kYes;
  };
  EXPECT_TRUE(covers(gate, gate));
  EXPECT_FALSE(covers(gate, gate_proj));
  EXPECT_TRUE(covers("gate", gate));
  EXPECT_FALSE(covers("gate", gate_proj));
  EXPECT_TRUE(covers("model.layers.3", gate));
  EXPECT_FALSE(covers("model.layers.3", "model.layers.31.mlp.gate"));
  EXPECT_FALSE(covers("", gate));
  EXPECT_TRUE(covers("model.layers.*.mlp.gate", gate));
  EXPECT_FALSE(covers("model.layers.*.mlp.gate", gate_proj));
  EXPECT_TRUE(covers("model.layers.*.mlp", gate));
  EXPECT_TRUE(covers("*gate", gate));
  EXPECT_TRUE(covers("re:.*mlp.gate$", gate));
  EXPECT_FALSE(covers("re:.*mlp.gate$", gate_proj));
  EXPECT_TRUE(covers("re:.*mlp\\.gate", gate_proj));  // a regular expression need not reach the end
  EXPECT_TRUE(covers("re:^model\\.layers\\.3\\..*", gate));
  EXPECT_FALSE(covers("re:layers", gate));  // it begins at the beginning
  spec.not_converted = {"re:model\\.(layers|blocks).*"};
  EXPECT_EQ(spec.left_alone(gate), LeftAlone::kUnknown);
  spec.not_converted = {"re:model\\.\\d+", "gate"};
  EXPECT_EQ(spec.left_alone(gate), LeftAlone::kYes);
  // Many runs do not make it slow.
  spec.not_converted = {"re:" + [] {
    std::string stars;
    for (int i = 0; i < 200; ++i) stars += ".*a";
    return stars;
  }() + "$"};
  EXPECT_EQ(spec.left_alone(std::string(1000, 'a') + "b"), LeftAlone::kNo);
}

}  // namespace
}  // namespace trireme::plan
