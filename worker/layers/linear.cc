#include "worker/layers/linear.h"

namespace trireme::worker {
namespace {

std::vector<std::string> with_suffix(const std::vector<std::string>& names, const char* suffix) {
  std::vector<std::string> full;
  for (const std::string& name : names) full.push_back(name + suffix);
  return full;
}

}  // namespace

Result<ColumnParallelLinear> ColumnParallelLinear::load(ShardLoader& weights,
                                                        const std::vector<std::string>& names,
                                                        bool has_bias) {
  ColumnParallelLinear layer;
  ASSIGN_OR_RETURN(layer.weight_, weights.packed(with_suffix(names, ".weight")));
  if (has_bias) {
    ASSIGN_OR_RETURN(layer.bias_, weights.vector_f32(with_suffix(names, ".bias")));
  }
  return layer;
}

void ColumnParallelLinear::forward(const TensorView& x, const TensorView& out,
                                   StepContext& context) const {
  context.backend->linear({.x = x, .weight = weight_.get(), .bias = bias_.view, .out = out},
                          context.stream);
}

Result<RowParallelLinear> RowParallelLinear::load(ShardLoader& weights, const std::string& name,
                                                  bool has_bias, comm::Group& tp,
                                                  std::string op_name) {
  RowParallelLinear layer;
  ASSIGN_OR_RETURN(layer.weight_, weights.packed({name + ".weight"}));
  if (has_bias) {
    ASSIGN_OR_RETURN(layer.bias_, weights.vector_f32({name + ".bias"}));
    if (tp.rank() != 0) layer.bias_ = {};
  }
  layer.tp_ = &tp;
  layer.op_name_ = std::move(op_name);
  return layer;
}

Status RowParallelLinear::forward(const TensorView& x, const TensorView& out,
                                  StepContext& context) const {
  context.backend->linear({.x = x, .weight = weight_.get(), .bias = bias_.view, .out = out},
                          context.stream);
  if (tp_->size() == 1) return {};
  const ScopedTime time(*context.clock, context.collective_ns);
  return tp_->all_reduce_sum(out, context.begin(op_name_));
}

}  // namespace trireme::worker
