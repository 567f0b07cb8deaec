#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void grouped_linear(const GroupedLinearArgs& args) {
  const int32_t* start = args.expert_start.as<int32_t>();
  for (size_t e = 0; e < args.weights.size(); ++e) {
    const auto expert = static_cast<int64_t>(e);
    TensorView bias;
    if (args.bias.defined()) {
      bias = TensorView(args.bias.row<float>(expert), DType::kF32, {args.bias.dim(1)});
    }
    linear({.x = args.x.rows(start[e], start[e + 1]),
            .weight = args.weights[e],
            .bias = bias,
            .out = args.out.rows(start[e], start[e + 1])});
  }
}

}  // namespace trireme::kernels::reference
