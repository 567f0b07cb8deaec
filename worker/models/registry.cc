#include <fmt/format.h>

#include "worker/models/model.h"

namespace trireme::worker {
namespace {

struct Family {
  std::string_view name;
  std::unique_ptr<Model> (*make)(PartLoader&);
};

// A new family is one file, one line here, and its config's line in parallel/plan/families.
constexpr Family kFamilies[] = {
    {"bert", make_bert},
    {"cohere", make_cohere},
    {"deepseek", make_deepseek},
    {"falcon", make_falcon},
    {"gemma", make_gemma},
    {"gemma2", make_gemma2},
    {"glm4", make_glm4},
    {"gpt2", make_gpt2},
    {"gpt_neox", make_gpt_neox},
    {"gpt_oss", make_gpt_oss},
    {"granite", make_granite},
    {"grok1", make_grok1},
    {"grok1_release", make_grok1_release},
    {"llama", make_llama},
    {"llama4", make_llama4},
    {"mixtral", make_mixtral},
    {"olmo2", make_olmo2},
    {"phi3", make_phi3},
    {"qwen", make_qwen},
    {"starcoder2", make_starcoder2},
};

}  // namespace

Result<std::unique_ptr<Model>> make_model(PartLoader& in) {
  for (const Family& family : kFamilies) {
    if (family.name != in.spec().family) continue;
    std::unique_ptr<Model> model = family.make(in);
    TRY(in.weights().status());
    return model;
  }
  return unimplemented(
      fmt::format("this build serves no models of the family \"{}\"", in.spec().family));
}

}  // namespace trireme::worker
