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

  // residual += scale * delta; out = norm(residual): for who adds to the residual stream.
  kernels::AddRmsNormArgs behind_sum(const TensorView& residual, const TensorView& delta,
                                     const TensorView& out, float scale = 1) const {
    return {.residual = residual,
            .delta = delta,
            .weight = weight_.view,
            .eps = eps_,
            .out = out,
            .delta_scale = scale};
  }
  // The same at once: one pass over memory.
  void add_and_forward(const TensorView& residual, const TensorView& delta, const TensorView& out,
                       StepContext& context, float scale = 1) const {
    context.backend->add_rms_norm(behind_sum(residual, delta, out, scale), context.stream);
  }

 private:
  DeviceTensor weight_;
  float eps_ = 0;
};

// x / rms(x) * (1 + weight): Gemma's.
class OffsetRmsNorm : public RmsNorm {
 public:
  OffsetRmsNorm() = default;
  OffsetRmsNorm(PartLoader& in, const std::string& name) : RmsNorm(in, name, /*plus=*/1) {}
};

// (x - mean(x)) / deviation(x) * weight, + bias where the spec has one.
class LayerNorm {
 public:
  LayerNorm() = default;
  LayerNorm(PartLoader& in, const std::string& name)
      : weight_(in.weights().vector_f32({in.vector(name + ".weight", in.spec().hidden)})),
        eps_(in.spec().norm_eps) {
    if (!in.spec().norm_bias) return;
    bias_ = in.weights().vector_f32({in.vector(name + ".bias", in.spec().hidden)});
  }

  // out = norm(x). x [n, hidden] f32, out [n, hidden] f32|bf16.
  void forward(const TensorView& x, const TensorView& out, StepContext& context) const {
    context.backend->layer_norm(
        {.x = x, .weight = weight_.view, .bias = bias_.view, .eps = eps_, .out = out},
        context.stream);
  }

 private:
  DeviceTensor weight_;
  DeviceTensor bias_;
  float eps_ = 0;
};

}  // namespace trireme::worker
