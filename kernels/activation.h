// Activation: the nonlinearities of feed-forward layers, by name.
#pragma once

#include <cstdint>

namespace trireme::kernels {

enum class Activation : uint8_t {
  kSilu,  // x / (1 + e^-x)
  kGelu,  // x * (1 + erf(x / sqrt(2))) / 2, exact.  Source: Hendrycks & Gimpel, arXiv:1606.08415.
  kGeluTanh,  // x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, same source
};

}  // namespace trireme::kernels
