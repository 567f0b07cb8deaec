// A group whose small sums into the residual stream go over the GPUs' own memory
// (kernels/peer_sum.h), where that was found to be right and faster. Everything else is the inner
// group's.
//
// At start the ranks exchange their windows, from host to host where they can, compare results
// with the inner group's on random data, and measure both ways; each finding is agreed on by all,
// so that all choose alike. A call is watched by the inner group as recorded work is
// (Group::replayed): its failure, told by way of `OneShotStop`, ends the kernels that wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kernels/backend.h"
#include "kernels/peer_sum.h"
#include "parallel/comm/group.h"
#include "parallel/comm/one_shot/one_shot_choice.h"

namespace trireme::comm {

// Where the inner group finds whom to stop when it fails. Null before the sums are used.
using OneShotStop = std::atomic<kernels::PeerSum*>;
inline void abort_sums(const OneShotStop& stop) {
  if (kernels::PeerSum* sum = stop.load()) sum->abort();
}

inline constexpr size_t kMaxOneShotSizes = 8;

struct OneShotInputs {
  kernels::Backend& backend;  // of this rank; for the start alone, as is the clock
  const Clock& clock;
  std::function<Result<std::unique_ptr<kernels::PeerSum>>(const kernels::PeerSumOptions&)> make;
  std::string machine;  // any name that this rank's machine alone has
  OneShotMode mode = OneShotMode::kAuto;
  std::shared_ptr<OneShotStop> stop;  // or null: the inner group fails without a word
  Group* host = nullptr;              // the same ranks over host memory, for the start; or none
  // The inner group's sums are in rank order: a sum must have the same bits either way, so that a
  // row may go now one way and now the other.
  bool same_bits = false;
  // Sizes of deltas that are measured, rising, multiples of 16 KiB, at most kMaxOneShotSizes; the
  // last is the largest that may go one-shot.
  std::vector<int64_t> sizes = {16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20};
};

// Called by every rank of the group, whose tensors are the backend's. Where one rank cannot, or
// results differ, it is the inner group that comes back, on all ranks, with the reason in the log;
// with kAlways failed_precondition. Errors of the inner group are handed on.
Result<std::unique_ptr<Group>> with_one_shot(std::unique_ptr<Group> group,
                                             const OneShotInputs& inputs);

}  // namespace trireme::comm
