// A GGUF file as a source of weights: names, shapes and numbers of the checkpoint that it was
// converted from.
//
// Block-quantised tensors are shown as f32, F32, F16 and BF16 ones as they are; what the conversion
// did (interleaved rows of q and k, norms plus one, stacked experts) is undone. A slice reads the
// blocks that it touches and no others.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

// `path` is what find_gguf returned. The errors of Gguf::open and of name_gguf_weights.
Result<std::unique_ptr<WeightSource>> open_gguf_source(const std::string& path);

}  // namespace trireme::worker
