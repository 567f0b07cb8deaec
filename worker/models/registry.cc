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
    {"llama", make_llama},
};

// No attention op has a window yet.
Status check_attention(const plan::ModelSpec& spec) {
  for (const plan::LayerSpec& layer : spec.layers) {
    if (layer.attention == plan::AttentionKind::kFull) continue;
    return unimplemented("this build does not serve layers with a sliding window yet");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> make_model(PartLoader& in) {
  TRY(check_attention(in.spec()));
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
