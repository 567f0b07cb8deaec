// ExchangingGroup: a group whose ranks can hand each other a tensor each, all at once, as part of
// enqueued and recorded work: what sums over a device's ranks are made of (rank_order/).
#pragma once

#include <span>

#include "parallel/comm/group.h"

namespace trireme::comm {

class ExchangingGroup : public Group {
 public:
  // to[r] goes to rank r, whose from[rank()] it fills: the two have the same size, contiguous, of
  // any dtype. What is empty, and this rank's own, stays where it is. A tensor may be in `to` more
  // than once; nothing else overlaps. Enqueued, recorded and watched as all_reduce_sum is.
  virtual Status exchange(std::span<const TensorView> to, std::span<const TensorView> from,
                          const OpContext& context) = 0;
};

}  // namespace trireme::comm
