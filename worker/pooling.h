// Pooling: from the rows of a text that an encoder leaves to the one vector that it is asked for.
//
// Pure. Source: Reimers & Gurevych, arXiv:1908.10084, sec. 3.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/plan/model_spec.h"

namespace trireme::worker {

// rows [n_rows, width] f32, n_rows > 0 -> [width]. Sums are taken in row order, in double.
std::vector<float> pool_rows(const float* rows, int64_t n_rows, int64_t width,
                             const plan::EncoderSpec& encoder);

}  // namespace trireme::worker
