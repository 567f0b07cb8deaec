// A device's group as NCCL's is, for threads on the emulator: exchanges are enqueued, recorded and
// replayed like kernels. Its own sums are an error: what a test shows is not made of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cuda/emulated/emulator.h"
#include "parallel/comm/exchanging_group.h"

namespace trireme::comm::testing {

class ThreadExchange : public ExchangingGroup {
 public:
  // Over a group of one process.
  explicit ThreadExchange(std::unique_ptr<Group> inner) : inner_(std::move(inner)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Status all_reduce_sum(const TensorView&, const OpContext&) override {
    return internal_error("a sum in the group's own order");
  }
  Status reduce_scatter_sum(const TensorView&, const TensorView&, const OpContext&) override {
    return internal_error("a sum in the group's own order");
  }
  Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) override {
    TRY(check_enqueued(context));
    return inner_->all_gather(x, out, context);
  }
  Status broadcast(const TensorView& x, int root, const OpContext& context) override {
    TRY(check_enqueued(context));
    return inner_->broadcast(x, root, context);
  }
  Status send(const TensorView& x, int peer, const OpContext& context) override {
    return inner_->send(x, peer, context);
  }
  Status recv(const TensorView& x, int peer, const OpContext& context) override {
    return inner_->recv(x, peer, context);
  }
  Status barrier(const OpContext& context) override {
    TRY(check_enqueued(context));
    return inner_->barrier(context);
  }
  bool can_record() const override { return true; }
  Status replayed(const OpContext& context) override { return check_enqueued(context); }
  Status check_enqueued(const OpContext&) override {
    if (failed_.has_value()) return *failed_;
    return {};
  }
  void abort(std::string_view reason) override { inner_->abort(reason); }

  Status exchange(std::span<const TensorView> to, std::span<const TensorView> from,
                  const OpContext& context) override {
    TRY(check_enqueued(context));
    ++n_exchanges_;
    for (size_t r = 0; r < to.size(); ++r) {
      if (static_cast<int>(r) != rank()) n_bytes_sent_ += static_cast<int64_t>(to[r].bytes());
    }
    kernels::cuda::emulator::enqueue([this, to = std::vector<TensorView>(to.begin(), to.end()),
                                      from = std::vector<TensorView>(from.begin(), from.end()),
                                      context] {
      if (failed_.has_value()) return;
      const Status status = run(to, from, context);
      if (!status.ok()) failed_ = status.error();
    });
    return check_enqueued(context);
  }

  int n_exchanges() const { return n_exchanges_; }
  int64_t n_bytes_sent() const { return n_bytes_sent_; }

 private:
  // Everybody gathers everything and takes what is meant for it.
  Status run(const std::vector<TensorView>& to, const std::vector<TensorView>& from,
             const OpContext& context) {
    const size_t n = to.size();
    std::vector<int64_t> mine(n), sizes(n * n);
    for (size_t r = 0; r < n; ++r) mine[r] = static_cast<int64_t>(to[r].bytes());
    TRY(gather(mine, sizes, context));
    const auto most = static_cast<size_t>(*std::max_element(sizes.begin(), sizes.end()));
    std::vector<uint8_t> out(n * most), all(n * n * most);
    for (size_t r = 0; r < n; ++r) {
      if (to[r].bytes() > 0) std::memcpy(out.data() + r * most, to[r].data, to[r].bytes());
    }
    if (most > 0) TRY(gather(out, all, context));
    const auto me = static_cast<size_t>(rank());
    for (size_t r = 0; r < n; ++r) {
      if (r == me) continue;
      CHECK_EQ(static_cast<int64_t>(from[r].bytes()), sizes[r * n + me]) << "from rank " << r;
      if (from[r].bytes() == 0) continue;
      std::memcpy(from[r].data, all.data() + (r * n + me) * most, from[r].bytes());
    }
    return {};
  }
  template <typename T>
  Status gather(std::vector<T>& x, std::vector<T>& out, const OpContext& context) {
    const auto view = [](std::vector<T>& values) {
      return TensorView(values.data(), dtype_of<T>(), {static_cast<int64_t>(values.size())});
    };
    return inner_->all_gather(view(x), view(out), context);
  }

  std::unique_ptr<Group> inner_;
  std::optional<Error> failed_;
  int n_exchanges_ = 0;
  int64_t n_bytes_sent_ = 0;
};

}  // namespace trireme::comm::testing
