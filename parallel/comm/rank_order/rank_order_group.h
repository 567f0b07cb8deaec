// A group on a device whose sums are in rank order whatever their size, as those of the groups on
// hosts are: the bits of sum_in_rank_order. For batch invariance: NCCL's own sums choose their
// order by size. Everything but sums is the inner group's.
//
// A sum goes through a workspace of bounded size, chunk by chunk (rank_order_cut.h): the ranks
// exchange terms, add them on the device, and hand out what each has added. All of that is enqueued
// on the context's stream: it can be recorded where the inner group's work can, and is watched as
// that is. Sums of a group follow each other on one stream, as the workspace is one.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/term_sum.h"
#include "parallel/comm/exchanging_group.h"

namespace trireme::comm {

struct RankOrderInputs {
  kernels::Backend& backend;  // of this rank; for the start alone
  kernels::TermSum sum;       // on its device
  int64_t workspace_bytes = 32 << 20;
};

// Called by every rank of the group, whose tensors are the backend's. Before it returns, sums of
// both ways have been made of random data and compared with the host's, bit for bit; so the inner
// group's connections are there before memory is counted. failed_precondition for more than
// kernels::kMaxTerms ranks, internal where bits differ; else the backend's and the group's errors.
// A group of one comes back as it is.
Result<std::unique_ptr<Group>> with_rank_order_sums(std::unique_ptr<ExchangingGroup> group,
                                                    const RankOrderInputs& inputs);

}  // namespace trireme::comm
