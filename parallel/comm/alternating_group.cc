#include "parallel/comm/alternating_group.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace trireme::comm {
namespace {

class AlternatingGroup final : public Group {
 public:
  AlternatingGroup(std::unique_ptr<Group> even, std::unique_ptr<Group> odd)
      : even_(std::move(even)), odd_(std::move(odd)) {
    CHECK_EQ(even_->size(), odd_->size());
    CHECK_EQ(even_->rank(), odd_->rank());
  }

  int rank() const override { return even_->rank(); }
  int size() const override { return even_->size(); }

  Status send(const TensorView& x, int peer, const OpContext& context) override {
    return towards(peer).send(x, peer, context);
  }
  Status recv(const TensorView& x, int peer, const OpContext& context) override {
    return towards(peer).recv(x, peer, context);
  }

  Status all_reduce_sum(const TensorView& x, const OpContext& context) override {
    return even_->all_reduce_sum(x, context);
  }
  Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) override {
    return even_->all_gather(x, out, context);
  }
  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const OpContext& context) override {
    return even_->reduce_scatter_sum(x, out, context);
  }
  Status broadcast(const TensorView& x, int root, const OpContext& context) override {
    return even_->broadcast(x, root, context);
  }
  Status barrier(const OpContext& context) override { return even_->barrier(context); }
  bool can_record() const override { return even_->can_record(); }
  Status replayed(const OpContext& context) override { return even_->replayed(context); }

  Status check_enqueued(const OpContext& context) override {
    TRY(even_->check_enqueued(context));
    return odd_->check_enqueued(context);
  }
  void abort(std::string_view reason) override {
    even_->abort(reason);
    odd_->abort(reason);
  }

 private:
  Group& towards(int peer) {
    CHECK_EQ(std::abs(peer - rank()), 1) << "in a column there are only neighbours";
    return std::min(peer, rank()) % 2 == 0 ? *even_ : *odd_;
  }

  std::unique_ptr<Group> even_;
  std::unique_ptr<Group> odd_;
};

}  // namespace

std::unique_ptr<Group> make_alternating_group(std::unique_ptr<Group> even,
                                              std::unique_ptr<Group> odd) {
  return std::make_unique<AlternatingGroup>(std::move(even), std::move(odd));
}

}  // namespace trireme::comm
