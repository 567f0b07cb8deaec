// RmsNorm: a root-mean-square norm with its weight and eps. Immutable after loading.
#pragma once

#include <string>

#include "kernels/backend.h"
#include "worker/layers/step_context.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

class RmsNorm {
 public:
  static Result<RmsNorm> load(ShardLoader& weights, const std::string& name, float eps) {
    RmsNorm norm;
    ASSIGN_OR_RETURN(norm.weight_, weights.vector_f32({name}));
    norm.eps_ = eps;
    return norm;
  }

  // out = norm(x). x [n, hidden] f32, out [n, hidden] f32|bf16.
  void forward(const TensorView& x, const TensorView& out, StepContext& context) const {
    context.backend->rms_norm({.x = x, .weight = weight_.view, .eps = eps_, .out = out},
                              context.stream);
  }

  // residual += delta; out = norm(residual): one pass over memory.
  void add_and_forward(const TensorView& residual, const TensorView& delta, const TensorView& out,
                       StepContext& context) const {
    context.backend->add_rms_norm(
        {.residual = residual, .delta = delta, .weight = weight_.view, .eps = eps_, .out = out},
        context.stream);
  }

 private:
  DeviceTensor weight_;
  float eps_ = 0;
};

}  // namespace trireme::worker
