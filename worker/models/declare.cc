#include "worker/models/declare.h"

#include "worker/models/model.h"
#include "worker/stub_group.h"

namespace trireme::worker {

Result<std::vector<WeightDeclaration>> declare_weights(const plan::ModelSpec& spec,
                                                       const plan::ParallelPlan& plan) {
  std::vector<WeightDeclaration> declared;
  for (const plan::RankPlan& rank : plan.ranks) {
    StubGroup tp(rank.tp_rank, plan.tp);
    ShardLoader loader;
    PartLoader parts(spec, rank, tp, loader);
    ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, make_model(parts));
    declared.push_back(loader.declaration());
  }
  return declared;
}

}  // namespace trireme::worker
