#include "parallel/comm/one_shot/one_shot_group.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "parallel/comm/forwarding_group.h"
#include "parallel/comm/one_shot/one_shot_setup.h"

namespace trireme::comm {
namespace {

class OneShotGroup final : public ForwardingGroup {
 public:
  OneShotGroup(std::unique_ptr<Group> group, std::unique_ptr<kernels::PeerSum> sum,
               const OneShotChoice& choice, std::shared_ptr<OneShotStop> stop)
      : ForwardingGroup(std::move(group)),
        sum_(std::move(sum)),
        stop_(std::move(stop)),
        choice_(choice) {
    if (stop_ != nullptr) stop_->store(sum_.get());
  }
  // The inner group's watcher ends before what it would stop.
  ~OneShotGroup() override {
    inner_.reset();
    if (stop_ != nullptr) stop_->store(nullptr);
  }
  OneShotGroup(const OneShotGroup&) = delete;
  OneShotGroup& operator=(const OneShotGroup&) = delete;

  Result<bool> all_reduce_into_residual(const kernels::AddRmsNormArgs& args,
                                        const OpContext& context) override {
    if (!sum_->takes(args) || !choice_.takes(static_cast<int64_t>(args.delta.bytes()))) {
      return false;
    }
    TRY(usable(context));
    sum_->add_rms_norm(args, context.stream);
    TRY(inner_->replayed(context));
    return true;
  }

  Status check_enqueued(const OpContext& context) override {
    TRY(inner_->check_enqueued(context));
    return usable(context);
  }
  void abort(std::string_view reason) override {
    inner_->abort(reason);
    sum_->abort();
  }

  // These return when they have happened, and what was enqueued before them too: where a sum was
  // given up, its results must not be used.
  Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) override {
    TRY(inner_->all_gather(x, out, context));
    return usable(context);
  }
  Status broadcast(const TensorView& x, int root, const OpContext& context) override {
    TRY(inner_->broadcast(x, root, context));
    return usable(context);
  }
  Status recv(const TensorView& x, int peer, const OpContext& context) override {
    TRY(inner_->recv(x, peer, context));
    return usable(context);
  }
  Status barrier(const OpContext& context) override {
    TRY(inner_->barrier(context));
    return usable(context);
  }

 private:
  Status usable(const OpContext& context) {
    if (!sum_->gave_up()) return {};
    const Error error = unavailable(fmt::format(
        "step {}, '{}': a one-shot sum before it was given up", context.step.value(), context.op));
    inner_->abort(error.message);
    return error;
  }

  std::unique_ptr<kernels::PeerSum> sum_;
  std::shared_ptr<OneShotStop> stop_;
  OneShotChoice choice_;
};

}  // namespace

Result<std::unique_ptr<Group>> with_one_shot(std::unique_ptr<Group> group,
                                             const OneShotInputs& inputs) {
  if (group->size() == 1 || inputs.mode == OneShotMode::kNever) return group;
  OneShotSetup setup(*group, inputs);
  ASSIGN_OR_RETURN(const std::optional<std::string> reason, setup.run());
  if (reason.has_value()) {
    if (inputs.mode == OneShotMode::kAlways) {
      return failed_precondition(
          fmt::format("`replicas.all_reduce` is one_shot, which cannot be here: {}", *reason));
    }
    if (group->rank() == 0) {
      const std::string text = fmt::format("sums go over NCCL alone, none one-shot: {}", *reason);
      setup.is_alarming() ? log::warn("{}", text) : log::info("{}", text);
    }
    return group;
  }
  if (group->rank() == 0) {
    log::info("sums into the residual stream, by size: {}", setup.choice().to_string());
  }
  return std::unique_ptr<Group>(std::make_unique<OneShotGroup>(std::move(group), setup.take_sum(),
                                                               setup.choice(), inputs.stop));
}

}  // namespace trireme::comm
