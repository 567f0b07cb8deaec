// StubGroup: one rank of a group whose other ranks do not exist. For the declare pass, which
// computes nothing, and for the rank-shard benchmark, which says so.
//
// Sums keep this rank's part and gathers repeat it: shapes and local work are those of the real
// group, values are not.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"

namespace trireme::worker {

class StubGroup final : public comm::Group {
 public:
  // Over host memory.
  StubGroup(int rank, int size) : rank_(rank), size_(size) {}
  // The backend, whose memory the tensors are in, outlives the group.
  StubGroup(int rank, int size, kernels::Backend& backend)
      : rank_(rank), size_(size), backend_(&backend) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Status all_reduce_sum(const TensorView&, const comm::OpContext&) override { return {}; }
  Status all_gather(const TensorView& x, const TensorView& out,
                    const comm::OpContext& context) override {
    for (int i = 0; i < size_; ++i) {
      copy(x.data, static_cast<char*>(out.data) + static_cast<size_t>(i) * x.bytes(), x.bytes(),
           context);
    }
    return {};
  }
  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const comm::OpContext& context) override {
    copy(x.data, out.data, out.bytes(), context);
    return {};
  }
  Status broadcast(const TensorView&, int, const comm::OpContext&) override { return {}; }
  Status send(const TensorView&, int, const comm::OpContext&) override { return no_peer(); }
  Status recv(const TensorView&, int, const comm::OpContext&) override { return no_peer(); }
  Status barrier(const comm::OpContext&) override { return {}; }
  bool can_record() const override { return true; }  // a sum is nothing here
  Status replayed(const comm::OpContext&) override { return {}; }
  void abort(std::string_view) override {}

 private:
  static Status no_peer() { return unimplemented("a rank shard has no neighbour to talk to"); }

  // By way of the host: gathers are small.
  void copy(const void* from, void* to, size_t bytes, const comm::OpContext& context) {
    if (backend_ == nullptr) {
      std::memmove(to, from, bytes);
      return;
    }
    bytes_.resize(bytes);
    backend_->copy_to_host(bytes_.data(), from, bytes, context.stream);
    backend_->synchronize(context.stream);
    backend_->copy_to_device(to, bytes_.data(), bytes, context.stream);
    backend_->synchronize(context.stream);
  }

  int rank_;
  int size_;
  kernels::Backend* backend_ = nullptr;
  std::vector<std::byte> bytes_;
};

}  // namespace trireme::worker
