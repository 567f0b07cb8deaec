// StubGroup: one rank of a group whose other ranks do not exist. For the declare pass, which
// computes nothing, and for the rank-shard benchmark, which says so.
//
// Sums keep this rank's part and gathers repeat it: shapes and local work are those of the real
// group, values are not.
#pragma once

#include <cstring>

#include "parallel/comm/group.h"

namespace trireme::worker {

class StubGroup final : public comm::Group {
 public:
  StubGroup(int rank, int size) : rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Status all_reduce_sum(const TensorView&, const comm::OpContext&) override { return {}; }
  Status all_gather(const TensorView& x, const TensorView& out, const comm::OpContext&) override {
    for (int i = 0; i < size_; ++i) {
      std::memcpy(static_cast<char*>(out.data) + static_cast<size_t>(i) * x.bytes(), x.data,
                  x.bytes());
    }
    return {};
  }
  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const comm::OpContext&) override {
    std::memcpy(out.data, x.data, out.bytes());
    return {};
  }
  Status broadcast(const TensorView&, int, const comm::OpContext&) override { return {}; }
  Status send(const TensorView&, int, const comm::OpContext&) override { return no_peer(); }
  Status recv(const TensorView&, int, const comm::OpContext&) override { return no_peer(); }
  Status barrier(const comm::OpContext&) override { return {}; }
  void abort(std::string_view) override {}

 private:
  static Status no_peer() { return unimplemented("a rank shard has no neighbour to talk to"); }

  int rank_;
  int size_;
};

}  // namespace trireme::worker
