// The random numbers of sampling: streams keyed by seed and position, counted by token id, so that
// a token does not depend on which rank, batch or replica drew it.
#pragma once

#include <cstdint>

#include "kernels/counter_random.h"

namespace trireme::worker {

using kernels::counter_hash;
using kernels::gumbel_noise;
using kernels::mix64;
using kernels::uniform_open;

// The stream of one sampled position: token ids are its counters. Keys of neighbouring seeds and
// positions are mixed twice, so that streams do not overlap in practice.
constexpr uint64_t sampling_key(uint64_t seed, int64_t position) {
  return mix64(mix64(seed + 0x9e3779b97f4a7c15ull) ^
               (static_cast<uint64_t>(position) * 0xd1b54a32d192ed03ull + 0x8cb92ba72f3d8dd7ull));
}

}  // namespace trireme::worker
