// Rows of quantised blocks to f32, on the host.
//
// Pure; any thread.
#pragma once

#include <cstdint>

#include "base/gguf.h"

namespace trireme::kernels::quant {

// Elements [begin, end) of a row that is stored at `row` in blocks of `type`, to `out`. Reads the
// blocks that the range touches and no others. Requires 0 <= begin <= end <= the row's length.
void dequantize_row(GgufType type, const uint8_t* row, int64_t begin, int64_t end, float* out);

}  // namespace trireme::kernels::quant
