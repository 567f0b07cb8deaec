#include "parallel/plan/rope_spec.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

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

// The channel pair that makes `rotations` whole turns within the original context.
double yarn_pair(double rotations, const RopeSpec& rope) {
  const double turns =
      static_cast<double>(rope.original_context) / (rotations * 2 * std::numbers::pi);
  return rope.rotary_dim * std::log(turns) / (2 * std::log(rope.theta));
}

// Fast pairs are kept, slow ones interpolated, a linear ramp lies between.
double yarn_scaled(double inv_freq, double pair, const RopeSpec& rope) {
  double low = yarn_pair(rope.beta_fast, rope);
  double high = yarn_pair(rope.beta_slow, rope);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dim - 1));
  if (low == high) high += 0.001;  // as the reference avoids its division by zero
  const double ramp = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return inv_freq / rope.factor * ramp + inv_freq * (1 - ramp);
}

// The base grows with the sequence once that is longer than the original context.
double dynamic_theta(const RopeSpec& rope, int64_t length) {
  const auto original = static_cast<double>(rope.original_context);
  const double reach = std::max(static_cast<double>(length), original) / original;
  const double dim = rope.rotary_dim;
  return rope.theta * std::pow(rope.factor * reach - (rope.factor - 1), dim / (dim - 2));
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

}  // namespace

std::vector<float> RopeSpec::inv_freq_at(int64_t length) const {
  CHECK_EQ(rotary_dim % 2, 0);
  const double base = scaling == RopeScaling::kDynamic ? dynamic_theta(*this, length) : theta;
  std::vector<float> frequencies(static_cast<size_t>(rotary_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(base, -2.0 * static_cast<double>(i) / rotary_dim);
    switch (scaling) {
      case RopeScaling::kNone:
      case RopeScaling::kDynamic:
        break;
      case RopeScaling::kLinear:
        frequency /= factor;
        break;
      case RopeScaling::kLlama3:
        frequency = llama3_scaled(frequency, *this);
        break;
      case RopeScaling::kYarn:
        frequency = yarn_scaled(frequency, static_cast<double>(i), *this);
        break;
      case RopeScaling::kLongRope:
        frequency /= (length > original_context ? long_factors : short_factors).at(i);
        break;
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

std::vector<std::vector<float>> RopeSpec::inv_freq_sets() const {
  std::vector<std::vector<float>> sets = {inv_freq()};
  if (scaling == RopeScaling::kLongRope) sets.push_back(inv_freq_at(original_context + 1));
  if (scaling == RopeScaling::kDynamic) {
    for (int64_t length = original_context + 1; length <= reach(); ++length) {
      sets.push_back(inv_freq_at(length));
    }
  }
  return sets;
}

int64_t RopeSpec::reach() const {
  return static_cast<int64_t>(std::floor(factor * static_cast<double>(original_context)));
}

float RopeSpec::cos_sin_scale() const {
  if (scaling != RopeScaling::kYarn && scaling != RopeScaling::kLongRope) return 1;
  if (attention_factor) return static_cast<float>(*attention_factor);
  if (scaling == RopeScaling::kLongRope) {
    if (factor <= 1) return 1;
    return static_cast<float>(
        std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original_context))));
  }
  if (mscale.value_or(0) != 0 && mscale_all_dim.value_or(0) != 0) {
    return static_cast<float>(yarn_mscale(factor, *mscale) / yarn_mscale(factor, *mscale_all_dim));
  }
  return static_cast<float>(yarn_mscale(factor, 1));
}

float RopeSpec::score_scale() const {
  if (scaling != RopeScaling::kYarn || mscale_all_dim.value_or(0) == 0) return 1;
  const double m = yarn_mscale(factor, *mscale_all_dim);
  return static_cast<float>(m * m);
}

}  // namespace trireme::plan
