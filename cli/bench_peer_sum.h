// Sums over peers' memory (kernels/peer_sum.h) on one GPU: its ranks are threads that share it.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"

namespace trireme::cli {

struct PeerSumTime {
  int n_ranks = 0;
  int64_t n_rows = 0;
  int64_t width = 0;
  double seconds = 0;  // of one call on every rank, the median of the rounds
  double bytes = 0;    // that all of them together read and write, in the one memory
};

// Every size of a decode step's sums for 2 and 4 ranks, largest last. There is no link between the
// ranks: what is measured is the kernel, its meeting included.
Status bench_peer_sums(int n_rounds, const std::function<void(const PeerSumTime&)>& tell);

}  // namespace trireme::cli
