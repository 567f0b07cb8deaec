// RopeSpec::inv_freq. Source of the llama3 rule: the frequency scaling published with Llama 3.1
// (Grattafiori et al., "The Llama 3 Herd of Models", arXiv:2407.21783) as its reference
// configuration names the four parameters.
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "parallel/plan/model_spec.h"

namespace trireme::plan {
namespace {

// Long wavelengths are slowed by `factor`, short ones kept, and those between blended by where they
// lie.
double llama3_scaled(double inv_freq, const RopeSpec& rope) {
  const double wavelength = 2 * std::numbers::pi / inv_freq;
  const auto original = static_cast<double>(rope.original_context);
  if (wavelength < original / rope.high_freq_factor) return inv_freq;
  if (wavelength > original / rope.low_freq_factor) return inv_freq / rope.factor;
  const double keep = (original / wavelength - rope.low_freq_factor) /
                      (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - keep) * inv_freq / rope.factor + keep * inv_freq;
}

}  // namespace

std::vector<float> RopeSpec::inv_freq() const {
  CHECK_EQ(rotary_dim % 2, 0);
  std::vector<float> frequencies(static_cast<size_t>(rotary_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / rotary_dim);
    switch (scaling) {
      case RopeScalingKind::kNone:
        break;
      case RopeScalingKind::kLinear:
        frequency /= factor;
        break;
      case RopeScalingKind::kLlama3:
        frequency = llama3_scaled(frequency, *this);
        break;
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

}  // namespace trireme::plan
