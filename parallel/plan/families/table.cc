#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Several architectures may compute alike: Mistral and Qwen 2 as Llama does, where their configs
// say what slides and what has a bias.
std::span<const FamilyRow> family_table() {
  static constexpr FamilyRow kTable[] = {
      {"LlamaForCausalLM", "llama", read_llama},
      {"LLaMAForCausalLM", "llama", read_llama},  // the first conversions of Llama 1
      {"Llama4ForCausalLM", "llama4", read_llama4},
      {"Llama4ForConditionalGeneration", "llama4", read_llama4},  // its text part
      {"MistralForCausalLM", "llama", read_mistral},
      {"MixtralForCausalLM", "mixtral", read_mixtral},
      {"Qwen2ForCausalLM", "llama", read_qwen2},
      {"Qwen3ForCausalLM", "qwen", read_qwen3},
      {"Qwen2MoeForCausalLM", "qwen", read_qwen2_moe},
      {"Qwen3MoeForCausalLM", "qwen", read_qwen3_moe},
      {"GraniteForCausalLM", "granite", read_granite},
      {"GraniteMoeForCausalLM", "granite", read_granitemoe},
      {"GemmaForCausalLM", "gemma", read_gemma},
      {"Gemma2ForCausalLM", "gemma2", read_gemma2},
      {"Gemma3ForCausalLM", "gemma2", read_gemma3},
      {"Gemma3ForConditionalGeneration", "gemma2", read_gemma3_multimodal},
      {"Phi3ForCausalLM", "phi3", read_phi3},
      {"Olmo2ForCausalLM", "olmo2", read_olmo2},
      {"CohereForCausalLM", "cohere", read_cohere},
      {"Cohere2ForCausalLM", "cohere", read_cohere2},
      {"Glm4ForCausalLM", "glm4", read_glm4},
      {"GPT2LMHeadModel", "gpt2", read_gpt2},
      {"GPTNeoXForCausalLM", "gpt_neox", read_gpt_neox},
      {"Starcoder2ForCausalLM", "starcoder2", read_starcoder2},
      {"FalconForCausalLM", "falcon", read_falcon},
      {"GptOssForCausalLM", "gpt_oss", read_gpt_oss},
      {"Grok1ForCausalLM", "grok1", read_grok1},
      {"GrokForCausalLM", "grok1_release", read_grok1},
      {"DeepseekV2ForCausalLM", "deepseek", read_deepseek_v2},
      {"DeepseekV3ForCausalLM", "deepseek", read_deepseek_v3},
      {"BertModel", "bert", read_bert},
  };
  return kTable;
}

}  // namespace trireme::plan
