#include "worker/layers/vocab_parallel.h"

namespace trireme::worker {

namespace {

WeightPart vocabulary_rows(const PartLoader& in, const std::string& name) {
  return in.rows(name, in.spec().vocab, in.spec().hidden, in.rank().vocab);
}

}  // namespace

VocabParallelEmbedding::VocabParallelEmbedding(PartLoader& in, const std::string& name)
    : table_(in.weights().table(vocabulary_rows(in, name), in.rank().vocab_padded)),
      first_id_(static_cast<int32_t>(in.rank().vocab.begin)),
      tp_(&in.tp()) {}

Status VocabParallelEmbedding::forward(const TensorView& ids, const TensorView& out,
                                       StepContext& context) const {
  context.backend->embedding({.ids = ids, .table = table_.view, .first_id = first_id_, .out = out},
                             context.stream);
  if (tp_->size() == 1) return {};
  // Every row is nonzero on one rank only, so that the sum is exact.
  const ScopedTime time(*context.clock, context.collective_ns);
  return tp_->all_reduce_sum(out, context.begin("embedding all_reduce"));
}

PositionEmbedding::PositionEmbedding(PartLoader& in, const std::string& name) {
  const int64_t n = in.spec().n_position_rows;
  table_ = in.weights().table(in.rows(name, n, in.spec().hidden, {0, n}), n);
}

void PositionEmbedding::add_to(const TensorView& x, const TensorView& positions,
                               const TensorView& rows, StepContext& context) const {
  context.backend->embedding({.ids = positions, .table = table_.view, .first_id = 0, .out = rows},
                             context.stream);
  context.backend->add({.x = rows, .y = x}, context.stream);
}

VocabParallelHead::VocabParallelHead(PartLoader& in, const std::string& name)
    : weight_(in.weights().packed({vocabulary_rows(in, name)}, in.rank().vocab_padded)) {}

void VocabParallelHead::forward(const TensorView& x, const TensorView& logits,
                                StepContext& context) const {
  context.backend->linear({.x = x, .weight = weight_.get(), .bias = {}, .out = logits},
                          context.stream);
}

}  // namespace trireme::worker
