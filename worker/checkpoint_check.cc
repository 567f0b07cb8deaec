#include "worker/checkpoint_check.h"

#include "parallel/plan/parallel_plan.h"
#include "worker/models/declare.h"
#include "worker/weights/shard_inventory.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

Result<CheckpointSummary> check_checkpoint(const std::string& model_path,
                                           const plan::ModelSpec& spec) {
  ASSIGN_OR_RETURN(const auto source, open_checkpoint(model_path, spec.quantization));
  // One rank asks for what all ranks of any plan ask for together.
  ASSIGN_OR_RETURN(const plan::ParallelPlan whole, plan::make_parallel_plan(spec, {}));
  ASSIGN_OR_RETURN(const auto declared, declare_weights(spec, whole));
  const auto inventory = source->inventory();
  CHECK(inventory.has_value()) << "a checkpoint lists its tensors";
  ASSIGN_OR_RETURN(const auto renamed, match_inventory(spec.architecture, declared, *inventory));
  return CheckpointSummary{.n_tensors = inventory->size(), .note = source->note()};
}

}  // namespace trireme::worker
