// ForwardingGroup: a group over another one, whose every operation is the other's until a class
// derived from it says otherwise.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "parallel/comm/group.h"

namespace trireme::comm {

class ForwardingGroup : public Group {
 public:
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Status all_reduce_sum(const TensorView& x, const OpContext& context) override {
    return inner_->all_reduce_sum(x, context);
  }
  Result<bool> all_reduce_into_residual(const kernels::AddRmsNormArgs& args,
                                        const OpContext& context) override {
    return inner_->all_reduce_into_residual(args, context);
  }
  Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) override {
    return inner_->all_gather(x, out, context);
  }
  Status all_gather_enqueued(const TensorView& x, const TensorView& out,
                             const OpContext& context) override {
    return inner_->all_gather_enqueued(x, out, context);
  }
  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const OpContext& context) override {
    return inner_->reduce_scatter_sum(x, out, context);
  }
  Status broadcast(const TensorView& x, int root, const OpContext& context) override {
    return inner_->broadcast(x, root, context);
  }
  Status send(const TensorView& x, int peer, const OpContext& context) override {
    return inner_->send(x, peer, context);
  }
  Status recv(const TensorView& x, int peer, const OpContext& context) override {
    return inner_->recv(x, peer, context);
  }
  Status barrier(const OpContext& context) override { return inner_->barrier(context); }
  bool can_record() const override { return inner_->can_record(); }
  Status replayed(const OpContext& context) override { return inner_->replayed(context); }
  Status check_enqueued(const OpContext& context) override {
    return inner_->check_enqueued(context);
  }
  void abort(std::string_view reason) override { inner_->abort(reason); }

 protected:
  explicit ForwardingGroup(std::unique_ptr<Group> inner) : inner_(std::move(inner)) {}

  std::unique_ptr<Group> inner_;
};

}  // namespace trireme::comm
