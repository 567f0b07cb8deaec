// What the tensors of a GGUF file are called in the checkpoint that they were converted from.
//
// Pure tables, one per architecture, so that a family's own file loads GGUF without knowing it. A
// tensor that has no place in its architecture is an error that names it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/gguf.h"
#include "base/result.h"

namespace trireme::worker {

// What the conversion did to the numbers, to be undone.
enum class GgufChange : uint8_t {
  kNone,
  kHeadRowsInterleaved,  // within a head of D rows, row i is at 2i and row i + D/2 at 2i + 1
  kOneAdded,             // norm weights: 1 was added
};

struct GgufWeight {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // [out, in] or [n]
  const GgufTensor* stored = nullptr;
  int64_t first_row = 0;  // of a stack of experts
  GgufChange change = GgufChange::kNone;
  int64_t n_heads = 1;  // for kHeadRowsInterleaved
};

// Valid as long as `gguf`. unimplemented names an architecture that has no table here.
Result<std::vector<GgufWeight>> name_gguf_weights(const Gguf& gguf);

}  // namespace trireme::worker
