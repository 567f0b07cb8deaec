// Specs that the plan's tests share.
#pragma once

#include <string>

#include "parallel/plan/model_spec.h"

namespace trireme::plan::testing {

inline ModelSpec golden_spec(const std::string& name) {
  Result<ModelSpec> spec =
      load_model_spec(std::string(TRIREME_SOURCE_DIR) + "/tests/golden/configs/" + name + ".json");
  CHECK(spec.ok()) << spec.error().message;
  return *spec;
}

// A small Llama whose sizes a test can count by hand.
inline ModelSpec small_spec() {
  ModelSpec spec;
  spec.architecture = "LlamaForCausalLM";
  spec.family = "llama";
  spec.layers.resize(4);
  spec.hidden = 16;
  spec.n_heads = 4;
  spec.n_kv_heads = 2;
  spec.head_dim = 4;
  spec.intermediate = 20;
  spec.vocab = 33;
  spec.context = 64;
  spec.norm_eps = 1e-5f;
  spec.ropes.resize(1);
  spec.ropes[0].rotary_dim = 4;
  return spec;
}

}  // namespace trireme::plan::testing
