// The architectures that this build reads, and what each family's config.json says in its own way.
//
// Private to parallel/plan. One row per architecture in table.cc; one short file per family, which
// reads the common keys (config_keys.h) and then what is its own. The family's arithmetic and its
// tensors' names are the business of worker/models.
#pragma once

#include <span>

#include "parallel/plan/config_json.h"
#include "parallel/plan/model_spec.h"

namespace trireme::plan {

using ReadFamilyFn = Status (*)(const ConfigObject& config, ModelSpec& spec);

struct FamilyRow {
  const char* architecture;
  const char* family;  // key of worker/models/registry.cc
  ReadFamilyFn read;
};
std::span<const FamilyRow> family_table();

Status read_bert(const ConfigObject& config, ModelSpec& spec);
Status read_cohere(const ConfigObject& config, ModelSpec& spec);
Status read_cohere2(const ConfigObject& config, ModelSpec& spec);
Status read_deepseek_v2(const ConfigObject& config, ModelSpec& spec);
Status read_deepseek_v3(const ConfigObject& config, ModelSpec& spec);
Status read_falcon(const ConfigObject& config, ModelSpec& spec);
Status read_gemma(const ConfigObject& config, ModelSpec& spec);
Status read_gemma2(const ConfigObject& config, ModelSpec& spec);
Status read_gemma3(const ConfigObject& config, ModelSpec& spec);
Status read_gemma3_multimodal(const ConfigObject& config, ModelSpec& spec);
Status read_glm4(const ConfigObject& config, ModelSpec& spec);
Status read_gpt2(const ConfigObject& config, ModelSpec& spec);
Status read_gpt_neox(const ConfigObject& config, ModelSpec& spec);
Status read_gpt_oss(const ConfigObject& config, ModelSpec& spec);
Status read_granite(const ConfigObject& config, ModelSpec& spec);
Status read_granitemoe(const ConfigObject& config, ModelSpec& spec);
Status read_grok1(const ConfigObject& config, ModelSpec& spec);
Status read_llama(const ConfigObject& config, ModelSpec& spec);
Status read_llama4(const ConfigObject& config, ModelSpec& spec);
Status read_mistral(const ConfigObject& config, ModelSpec& spec);
Status read_mixtral(const ConfigObject& config, ModelSpec& spec);
Status read_olmo2(const ConfigObject& config, ModelSpec& spec);
Status read_phi3(const ConfigObject& config, ModelSpec& spec);
Status read_qwen2(const ConfigObject& config, ModelSpec& spec);
Status read_qwen2_moe(const ConfigObject& config, ModelSpec& spec);
Status read_qwen3(const ConfigObject& config, ModelSpec& spec);
Status read_qwen3_moe(const ConfigObject& config, ModelSpec& spec);
Status read_starcoder2(const ConfigObject& config, ModelSpec& spec);

}  // namespace trireme::plan
