#include <cmath>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

float activate(Activation activation, float x) {
  constexpr float kInvSqrt2 = 0.70710678f;
  constexpr float kSqrt2OverPi = 0.79788456f;
  switch (activation) {
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * kInvSqrt2));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
    default:
      return x / (1.0f + std::exp(-x));
  }
}

void activation(const ActivationArgs& args) {
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    for (int64_t j = 0; j < args.x.dim(1); ++j) {
      store(args.out, i, j, activate(args.activation, args.x.row<float>(i)[j]));
    }
  }
}

}  // namespace trireme::kernels::reference
