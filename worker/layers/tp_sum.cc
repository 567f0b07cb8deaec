#include "worker/layers/tp_sum.h"

namespace trireme::worker {

Status TpSum::reduce(const TensorView& partial, StepContext& context) const {
  if (tp_->size() == 1) return {};
  const ScopedTime time(*context.clock, context.collective_ns);
  return tp_->all_reduce_sum(partial, context.begin(name_));
}

Status TpSum::add_to(const kernels::AddRmsNormArgs& args, StepContext& context) const {
  if (tp_->size() > 1) {
    const ScopedTime time(*context.clock, context.collective_ns);
    const comm::OpContext op = context.begin(name_);
    ASSIGN_OR_RETURN(const bool done, tp_->all_reduce_into_residual(args, op));
    if (done) return {};
    TRY(tp_->all_reduce_sum(args.delta, op));
  }
  if (args.weight.defined()) {
    context.backend->add_rms_norm(args, context.stream);
  } else {
    context.backend->add({.x = args.delta, .y = args.residual, .scale = args.delta_scale},
                         context.stream);
  }
  return {};
}

}  // namespace trireme::worker
