#include "parallel/plan/families/families.h"

namespace trireme::plan {

// Mistral and Qwen 2 compute as Llama does: their configs say where they slide and what has a bias.
std::span<const FamilyRow> family_table() {
  static constexpr FamilyRow kTable[] = {
      {"LlamaForCausalLM", "llama", read_llama},
      {"LLaMAForCausalLM", "llama", read_llama},  // the first conversions of Llama 1
      {"MistralForCausalLM", "llama", read_mistral},
      {"Qwen2ForCausalLM", "llama", read_qwen2},
      {"Qwen3ForCausalLM", "qwen3", read_qwen3},
      {"GraniteForCausalLM", "granite", read_granite},
  };
  return kTable;
}

}  // namespace trireme::plan
