#include "worker/layers/linear.h"

#include <fmt/format.h>

namespace trireme::worker {

ColumnParallelLinear::ColumnParallelLinear(PartLoader& in, const std::vector<WeightPart>& parts,
                                           const std::vector<WeightPart>& bias_parts)
    : weight_(in.weights().packed(parts)) {
  if (!bias_parts.empty()) bias_ = in.weights().vector_f32(bias_parts);
}

void ColumnParallelLinear::forward(const TensorView& x, const TensorView& out,
                                   StepContext& context) const {
  context.backend->linear({.x = x, .weight = weight_.get(), .bias = bias_.view, .out = out},
                          context.stream);
}

RowParallelLinear::RowParallelLinear(PartLoader& in, const WeightPart& part,
                                     const std::vector<WeightPart>& bias_parts,
                                     const std::string& what)
    : weight_(in.weights().packed({part})),
      sum_(in.tp(), fmt::format("layer {} {} all_reduce", in.index(), what)) {
  if (bias_parts.empty()) return;
  bias_ = in.weights().vector_f32(bias_parts);
  if (in.tp().rank() != 0) bias_ = {};
}

void RowParallelLinear::forward_partial(const TensorView& x, const TensorView& out,
                                        StepContext& context) const {
  context.backend->linear({.x = x, .weight = weight_.get(), .bias = bias_.view, .out = out},
                          context.stream);
}

Status RowParallelLinear::forward(const TensorView& x, const TensorView& out,
                                  StepContext& context) const {
  forward_partial(x, out, context);
  return sum_.reduce(out, context);
}

}  // namespace trireme::worker
