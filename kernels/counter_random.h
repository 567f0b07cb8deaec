// Counter-based random numbers: a pure function of a key and a counter, with no state to hand on or
// to lose.
//
// The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom
// Number Generators", OOPSLA 2014), a bijection of 64 bits whose outputs over a Weyl sequence pass
// the usual batteries. Not for secrets. Hosts and devices compute the same hash; noise in f64 is
// the definition, noise in f32 is near it.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/launch_shape.h"

namespace trireme::kernels {

TRIREME_HD constexpr uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Draw number `counter` of the stream `key`.
TRIREME_HD constexpr uint64_t counter_hash(uint64_t key, uint64_t counter) {
  return mix64(key + (counter + 1) * 0x9e3779b97f4a7c15ull);
}

// Uniform in (0, 1]: 53 bits and a half.
inline double uniform_open(uint64_t hash) {
  return (static_cast<double>(hash >> 11) + 0.5) * 0x1p-53;
}

// Gumbel noise from a uniform w: -log(E) with E = -log(1 - w) exponential. argmax(logit + noise)
// draws from the softmax. E >= w, which lets a scan reject most tokens without a logarithm
// (worker/sample/token_scan.h).
inline double gumbel_noise(double w) { return -std::log(-std::log1p(-w)); }

// gumbel_noise(uniform_open(hash)) within 1e-5, in f32: from the end of (0, 1) that the uniform is
// nearer to, so that neither loses its bits.
TRIREME_HD inline float gumbel_noise_f32(uint64_t hash) {
  constexpr uint64_t kHalf = uint64_t{1} << 52;
  constexpr float kUnit = 1.1102230246251565e-16f;  // 2^-53
  const uint64_t n = hash >> 11;
  if (n < kHalf) {
    const float w = (static_cast<float>(n) + 0.5f) * kUnit;
    return -logf(-log1pf(-w));
  }
  // From here on f64 rounds n + 1/2 to the even neighbour.
  const float from_one = static_cast<float>(2 * kHalf - (n + n % 2)) * kUnit;
  return -logf(-logf(from_one));
}

}  // namespace trireme::kernels
