// MpiGroup: a Group over MPI messages, for ranks on different nodes. Included by parallel/comm/mpi
// alone.
//
// Each operation is a set of Isend and Irecv that is polled until it is done, late or aborted: a
// short spin, then naps of growing length. Sums are ours, in rank order (MPI_Allreduce may add in
// another order for another size). Every message carries the operation's signature. Messages are
// staged in buffers of the group, so a failed operation leaves no pointer of the caller inside MPI;
// a failed group's buffers live until the process ends, as MPI may still hold them.
//
// abort() tells the peers at once where MPI allows calls from any thread, and otherwise with this
// rank's next operation.
#pragma once

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "parallel/comm/group.h"

namespace trireme::comm {

struct MpiGroupOptions {
  std::string name;               // in errors: "tp", "pp", "world"
  std::vector<int> worker_ranks;  // group rank -> worker rank, for errors
  int64_t spin_ns = 0;
};

class MpiGroup final : public Group {
 public:
  // Takes over `comm`, whose ranks are the group's. `clock` outlives the group.
  MpiGroup(MPI_Comm comm, MpiGroupOptions options, const Clock& clock);
  ~MpiGroup() override;
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(options_.worker_ranks.size()); }
  Status all_reduce_sum(const TensorView& x, const OpContext& context) override;
  Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) override;
  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const OpContext& context) override;
  Status broadcast(const TensorView& x, int root, const OpContext& context) override;
  Status send(const TensorView& x, int peer, const OpContext& context) override;
  Status recv(const TensorView& x, int peer, const OpContext& context) override;
  Status barrier(const OpContext& context) override;
  // Only a group of one does without the host.
  bool can_record() const override { return size() == 1; }
  Status replayed(const OpContext&) override { return {}; }
  void abort(std::string_view reason) override;

 private:
  // An operation under way: its context with the deadline made definite.
  struct Op {
    const OpContext& context;
    int64_t deadline_ns;
    uint64_t signature;
  };
  // Buffers that MPI may hold: one piece to each peer and one from each.
  struct Staging {
    std::vector<std::vector<std::byte>> out;
    std::vector<std::vector<std::byte>> in;
    std::vector<std::byte> sums;
  };
  struct Transfer {
    std::vector<MPI_Request> requests;
    std::vector<int> peers;        // of each request
    std::vector<size_t> in_bytes;  // expected of each receive, with its signature; 0: a send
  };

  Status enter(const OpContext& context);
  Op begin(const OpContext& context, uint64_t signature) const;
  void stage(int peer, const std::byte* data, size_t bytes, const Op& op);
  const std::byte* received(int peer) const;
  void post_recv(int peer, size_t bytes, int tag, Transfer& transfer);
  void post_send(int peer, int tag, Transfer& transfer);
  Status finish(Transfer& transfer, const Op& op);
  Status check_received(const Transfer& transfer, const std::vector<MPI_Status>& statuses,
                        const Op& op);
  // Sends what is staged to each peer, and receives bytes_from[peer] from each.
  Status exchange(const std::vector<size_t>& bytes_from, const Op& op);
  Status all_reduce_piece(DType dtype, std::byte* data, int64_t count, const Op& op);
  Status sum_received(DType dtype, const std::byte* own, std::byte* out, int64_t count);

  bool heard_abort();
  void tell_peers();
  Error aborted(const OpContext& context);
  Error fail(Error error);
  std::string where(const OpContext& context) const;
  int worker(int group_rank) const {
    return options_.worker_ranks[static_cast<size_t>(group_rank)];
  }

  MPI_Comm comm_;
  MpiGroupOptions options_;
  const Clock& clock_;
  int rank_ = 0;
  bool any_thread_may_call_ = false;
  std::unique_ptr<Staging> staging_;
  bool broken_ = false;  // MPI may hold buffers for ever

  std::atomic<bool> aborted_ = false;
  std::atomic<bool> told_ = false;
  std::mutex mutex_;  // guards the two below
  std::string abort_reason_;
  int abort_worker_ = -1;
};

}  // namespace trireme::comm
