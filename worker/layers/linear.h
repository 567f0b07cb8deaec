// Linear layers cut over the tensor-parallel group.
//
// A column-parallel layer holds some output features and needs no communication; a row-parallel one
// holds some input features and sums over the group. Row-parallel layers and the sharded embedding
// are the only users of all_reduce. Source: Shoeybi et al., arXiv:1909.08053, sec. 3. Immutable
// after loading; used by the rank's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "worker/layers/step_context.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

class ColumnParallelLinear {
 public:
  // `names` are projections that share their input, e.g. {".q_proj", ".k_proj", ".v_proj"}: packed
  // as one matrix, their outputs side by side.
  static Result<ColumnParallelLinear> load(ShardLoader& weights,
                                           const std::vector<std::string>& names, bool has_bias);

  // x [n_tokens, in] -> out [n_tokens, this rank's out].
  void forward(const TensorView& x, const TensorView& out, StepContext& context) const;
  int64_t out_features() const { return weight_->out_features(); }

 private:
  std::unique_ptr<kernels::PackedWeight> weight_;
  DeviceTensor bias_;
};

class RowParallelLinear {
 public:
  // The group outlives the layer.
  static Result<RowParallelLinear> load(ShardLoader& weights, const std::string& name,
                                        bool has_bias, comm::Group& tp, std::string op_name);

  // x [n_tokens, this rank's in] -> out [n_tokens, out] f32, the same on every rank of the group.
  Status forward(const TensorView& x, const TensorView& out, StepContext& context) const;

 private:
  std::unique_ptr<kernels::PackedWeight> weight_;
  DeviceTensor bias_;  // on tp rank 0 only: the sum adds it once
  comm::Group* tp_ = nullptr;
  std::string op_name_;
};

}  // namespace trireme::worker
