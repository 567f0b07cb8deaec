#include "worker/layers/vocab_parallel.h"

namespace trireme::worker {

Result<VocabParallelEmbedding> VocabParallelEmbedding::load(ShardLoader& weights,
                                                            const std::string& name,
                                                            const plan::RankPlan& rank,
                                                            comm::Group& tp) {
  VocabParallelEmbedding layer;
  ASSIGN_OR_RETURN(layer.table_, weights.table(name, rank.vocab_padded));
  layer.first_id_ = static_cast<int32_t>(rank.vocab.begin);
  layer.tp_ = &tp;
  return layer;
}

Status VocabParallelEmbedding::forward(const TensorView& ids, const TensorView& out,
                                       StepContext& context) const {
  context.backend->embedding({.ids = ids, .table = table_.view, .first_id = first_id_, .out = out},
                             context.stream);
  if (tp_->size() == 1) return {};
  // Every row is nonzero on one rank only, so that the sum is exact.
  const ScopedTime time(*context.clock, context.collective_ns);
  return tp_->all_reduce_sum(out, context.begin("embedding all_reduce"));
}

Result<VocabParallelHead> VocabParallelHead::load(ShardLoader& weights, const std::string& name,
                                                  const plan::RankPlan& rank) {
  VocabParallelHead layer;
  ASSIGN_OR_RETURN(layer.weight_, weights.packed({name}, rank.vocab_padded));
  return layer;
}

void VocabParallelHead::forward(const TensorView& x, const TensorView& logits,
                                StepContext& context) const {
  context.backend->linear({.x = x, .weight = weight_.get(), .bias = {}, .out = logits},
                          context.stream);
}

}  // namespace trireme::worker
