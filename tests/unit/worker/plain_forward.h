// A Llama forward in plain double loops over whole weights: nothing shared with the worker but the
// weight source.
#pragma once

#include <vector>

#include "parallel/plan/model_spec.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

// Logits of the last position, [vocab].
std::vector<double> plain_llama_logits(const plan::ModelSpec& spec, WeightSource& weights,
                                       const std::vector<int32_t>& tokens);

}  // namespace trireme::worker
