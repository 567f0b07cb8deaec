// Linear layers cut over the tensor-parallel group.
//
// A column-parallel layer holds some output features and needs no communication; a row-parallel one
// holds some input features and sums over the group. Row-parallel layers, the sharded embedding and
// what sums like them are the only users of all_reduce. Source: Shoeybi et al., arXiv:1909.08053,
// sec. 3. Immutable after loading; used by the rank's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/step_context.h"
#include "worker/layers/tp_sum.h"

namespace trireme::worker {

class ColumnParallelLinear {
 public:
  ColumnParallelLinear() = default;
  // Parts that share their input, e.g. the rows of q, k and v: packed as one matrix, their outputs
  // side by side. No bias parts: no bias.
  ColumnParallelLinear(PartLoader& in, const std::vector<WeightPart>& parts,
                       const std::vector<WeightPart>& bias_parts = {});

  // x [n_tokens, in] -> out [n_tokens, this rank's out].
  void forward(const TensorView& x, const TensorView& out, StepContext& context) const;

 private:
  std::unique_ptr<kernels::PackedWeight> weight_;
  DeviceTensor bias_;
};

class RowParallelLinear {
 public:
  RowParallelLinear() = default;
  // `what` names the layer's collective: "layer 3 <what> all_reduce". No bias parts: no bias.
  RowParallelLinear(PartLoader& in, const WeightPart& part,
                    const std::vector<WeightPart>& bias_parts, const std::string& what);

  // x [n_tokens, this rank's in] -> out [n_tokens, out] f32, the same on every rank of the group.
  Status forward(const TensorView& x, const TensorView& out, StepContext& context) const;
  // This rank's term of that sum alone, for a caller that does more with it before or in `sum`.
  void forward_partial(const TensorView& x, const TensorView& out, StepContext& context) const;
  const TpSum& sum() const { return sum_; }

 private:
  std::unique_ptr<kernels::PackedWeight> weight_;
  DeviceTensor bias_;  // on tp rank 0 only: the sum adds it once
  TpSum sum_;
};

}  // namespace trireme::worker
