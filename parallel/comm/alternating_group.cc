#include "parallel/comm/alternating_group.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/check.h"
#include "parallel/comm/forwarding_group.h"

namespace trireme::comm {
namespace {

class AlternatingGroup final : public ForwardingGroup {
 public:
  AlternatingGroup(std::unique_ptr<Group> even, std::unique_ptr<Group> odd)
      : ForwardingGroup(std::move(even)), odd_(std::move(odd)) {
    CHECK_EQ(inner_->size(), odd_->size());
    CHECK_EQ(inner_->rank(), odd_->rank());
  }

  Status send(const TensorView& x, int peer, const OpContext& context) override {
    return towards(peer).send(x, peer, context);
  }
  Status recv(const TensorView& x, int peer, const OpContext& context) override {
    return towards(peer).recv(x, peer, context);
  }
  Status check_enqueued(const OpContext& context) override {
    TRY(inner_->check_enqueued(context));
    return odd_->check_enqueued(context);
  }
  void abort(std::string_view reason) override {
    inner_->abort(reason);
    odd_->abort(reason);
  }

 private:
  Group& towards(int peer) {
    CHECK_EQ(std::abs(peer - rank()), 1) << "in a column there are only neighbours";
    return std::min(peer, rank()) % 2 == 0 ? *inner_ : *odd_;
  }

  std::unique_ptr<Group> odd_;
};

}  // namespace

std::unique_ptr<Group> make_alternating_group(std::unique_ptr<Group> even,
                                              std::unique_ptr<Group> odd) {
  return std::make_unique<AlternatingGroup>(std::move(even), std::move(odd));
}

}  // namespace trireme::comm
