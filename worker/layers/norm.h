// Norms of the residual stream, with their weights. Immutable after loading.
#pragma once

#include <string>

#include "kernels/backend.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/step_context.h"

namespace trireme::worker {

// x / rms(x) * weight.
class RmsNorm {
 public:
  RmsNorm() = default;
  // `plus` is added to the stored weight.
  RmsNorm(PartLoader& in, const std::string& name, float plus = 0)
      : weight_(in.weights().vector_f32({in.vector(name + ".weight", in.spec().hidden)}, plus)),
        eps_(in.spec().norm_eps) {}

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
