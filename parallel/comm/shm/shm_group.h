// ShmGroup: a Group over a Region, for ranks that are threads of a process or processes of a node.
//
// Everything is made of one primitive, the exchange: each rank writes a piece of its message into
// its own slot, announces it, waits until every rank has announced its own, and reads the others'
// slots. Slots alternate, so one wait per exchange is enough: a rank writes slot k % 2 again only
// in exchange k + 2, and every rank has entered k + 1 by then, which it does after it has read the
// slots of k. Messages longer than a slot are exchanged piece by piece. Each exchange carries a
// signature of the operation (kind, type, length, root), so ranks that fell out of step get an
// error and not garbage. send and recv go through a ring per ordered pair of ranks.
//
// Costs, for n bytes over p ranks: all_reduce in one shot (small, or p = 2) copies n and reads (p -
// 1) n after one wait; in two shots it copies n, reads 2 n and waits twice.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "parallel/comm/group.h"
#include "parallel/comm/shm/region.h"

namespace trireme::comm {

struct ShmGroupOptions {
  std::string name;               // in errors: "tp", "pp", "world"
  std::vector<int> worker_ranks;  // group rank -> worker rank, for errors; size() is the group's
  int rank = 0;
  int64_t spin_ns = 0;  // how long a wait spins before it sleeps; 0 where ranks outnumber cores
};

class ShmGroup final : public Group {
 public:
  // `clock` outlives the group. The region was made for as many ranks as options.worker_ranks has.
  ShmGroup(std::shared_ptr<Region> region, ShmGroupOptions options, const Clock& clock);
  ~ShmGroup() override;
  ShmGroup(const ShmGroup&) = delete;
  ShmGroup& operator=(const ShmGroup&) = delete;

  int rank() const override { return options_.rank; }
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

  Status enter(const OpContext& context);
  Op begin(const OpContext& context, uint64_t signature) const;
  std::byte* next_slot();            // where this rank's piece of the coming exchange goes
  Status exchange(const Op& op);     // announces it and waits for every rank's
  const std::byte* piece(int rank);  // rank's piece of the last exchange
  Status all_reduce_piece(DType dtype, std::byte* data, int64_t count, const Op& op);

  // Waits until ready(word's value), or fails for `peer`.
  template <typename Ready>
  Status wait_for(SharedWord& word, const Ready& ready, int peer, const Op& op);
  Status ring_write(const std::byte* data, size_t bytes, int peer, const Op& op);
  Status ring_read(std::byte* data, size_t bytes, int peer, const Op& op);

  Error late(int peer, const Op& op);
  Error gone(int peer, const Op& op);
  Error out_of_step(int peer, const Op& op);
  Error aborted(const OpContext& context);
  std::string where(const OpContext& context) const;
  // Ends the group for every rank, with `error` as the reason, and hands it back.
  Error fail(Error error);

  std::shared_ptr<Region> region_;
  ShmGroupOptions options_;
  const Clock& clock_;
  uint32_t exchanges_ = 0;  // entered so far
};

}  // namespace trireme::comm
