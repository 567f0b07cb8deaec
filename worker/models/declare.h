// The declare pass: what every rank of a plan will ask of a checkpoint, from the family's own code.
//
// Nothing is read and no device is needed. The result is the inventory that ShardLoader compares
// with the checkpoint, and the truth that the planner's formulas are tested against.
#pragma once

#include <vector>

#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

// By worker rank. unimplemented names a family that this build does not have.
Result<std::vector<WeightDeclaration>> declare_weights(const plan::ModelSpec& spec,
                                                       const plan::ParallelPlan& plan);

}  // namespace trireme::worker
