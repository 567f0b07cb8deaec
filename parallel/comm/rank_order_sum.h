// Sum over ranks in rank order, element by element: the one arithmetic of every all_reduce and
// reduce_scatter on the host.
//
// out[i] = ((in[0][i] + in[1][i]) + in[2][i]) + ..., each term and each partial sum in f32; a bf16
// result is rounded once, at the end. So an element's sum depends on the ranks' values alone: not
// on its position, the message's size or how the message was cut. Stateless; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/dtype.h"

namespace trireme::comm {

// f32 and bf16 can be summed.
bool can_sum(DType dtype);

// inputs[r]: rank r's `count` elements. `out` may be one of them. CHECKs can_sum(dtype).
void sum_in_rank_order(DType dtype, const std::vector<const std::byte*>& inputs, std::byte* out,
                       int64_t count);

}  // namespace trireme::comm
