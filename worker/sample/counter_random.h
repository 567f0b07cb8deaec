// Counter-based random numbers: a pure function of a key and a counter, with no state to hand on or
// to lose.
//
// So a token does not depend on which rank, batch or replica drew it. The mixer is the finaliser of
// SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014),
// a bijection of 64 bits whose outputs over a Weyl sequence pass the usual batteries. Not for
// secrets.
#pragma once

#include <cmath>
#include <cstdint>

namespace trireme::worker {

constexpr uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Draw number `counter` of the stream `key`.
constexpr uint64_t counter_hash(uint64_t key, uint64_t counter) {
  return mix64(key + (counter + 1) * 0x9e3779b97f4a7c15ull);
}

// The stream of one sampled position: token ids are its counters. Keys of neighbouring seeds and
// positions are mixed twice, so that streams do not overlap in practice.
constexpr uint64_t sampling_key(uint64_t seed, int64_t position) {
  return mix64(mix64(seed + 0x9e3779b97f4a7c15ull) ^
               (static_cast<uint64_t>(position) * 0xd1b54a32d192ed03ull + 0x8cb92ba72f3d8dd7ull));
}

// Uniform in (0, 1), never 0 or 1: 53 bits and a half.
inline double uniform_open(uint64_t hash) {
  return (static_cast<double>(hash >> 11) + 0.5) * 0x1p-53;
}

// Gumbel noise from a uniform w: -log(E) with E = -log(1 - w) exponential. argmax(logit + noise)
// draws from the softmax. E >= w, which lets a scan reject most tokens without a logarithm
// (token_scan.h).
inline double gumbel_noise(double w) { return -std::log(-std::log1p(-w)); }

}  // namespace trireme::worker
