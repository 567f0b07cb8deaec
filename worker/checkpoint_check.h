// Whether a model's stored weights are those that its configuration describes, before anything is
// started: every name, shape and type, from the files' headers alone.
//
// The ranks check the same again when they load; this says it once, at once, to who starts them.
#pragma once

#include <string>

#include "base/result.h"
#include "parallel/plan/model_spec.h"

namespace trireme::worker {

struct CheckpointSummary {
  size_t n_tensors = 0;  // as the model sees them
  std::string note;      // what is done to quantised weights at load; empty: nothing
};

// The errors of open_checkpoint, and those that name a missing, surplus or misshapen tensor.
Result<CheckpointSummary> check_checkpoint(const std::string& model_path,
                                           const plan::ModelSpec& spec);

}  // namespace trireme::worker
