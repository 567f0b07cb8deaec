// TpSum: the sum over the tensor-parallel group in which a block of a layer ends.
//
// What follows it is most often the residual stream, and a norm of that: told of them, the group
// may do all in one (comm::Group::all_reduce_into_residual). Of a group of one rank nothing is
// summed. Immutable; used by the rank's thread.
#pragma once

#include <string>
#include <utility>

#include "kernels/ops.h"
#include "parallel/comm/group.h"
#include "worker/layers/step_context.h"

namespace trireme::worker {

class TpSum {
 public:
  TpSum() = default;
  // `name` is what a failure reports: "layer 3 mlp all_reduce".
  TpSum(comm::Group& tp, std::string name) : tp_(&tp), name_(std::move(name)) {}

  // partial = sum over ranks of partial.
  Status reduce(const TensorView& partial, StepContext& context) const;
  // residual += delta_scale * (sum over ranks of delta), and its norm where args has a weight.
  // What is in delta afterwards is not said.
  Status add_to(const kernels::AddRmsNormArgs& args, StepContext& context) const;

 private:
  comm::Group* tp_ = nullptr;
  std::string name_;
};

}  // namespace trireme::worker
