#include <fmt/format.h>

#include "worker/models/model.h"

namespace trireme::worker {
namespace {

struct Family {
  std::string_view name;
  Result<std::unique_ptr<Model>> (*make)(const ModelInputs&);
};

// A new family is one file and one line here.
constexpr Family kFamilies[] = {
    {"llama", make_llama},
};

}  // namespace

Result<std::unique_ptr<Model>> make_model(const ModelInputs& inputs) {
  for (const Family& family : kFamilies) {
    if (family.name == inputs.spec.family) return family.make(inputs);
  }
  return unimplemented(
      fmt::format("this build serves no models of the family \"{}\"", inputs.spec.family));
}

}  // namespace trireme::worker
