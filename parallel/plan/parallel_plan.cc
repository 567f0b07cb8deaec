#include "parallel/plan/parallel_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace trireme::plan {
namespace {

constexpr int kMaxTp = 1024;

bool heads_allow(const ModelSpec& spec, int tp) {
  if (spec.n_heads % tp != 0) return false;
  return tp <= spec.n_kv_heads ? spec.n_kv_heads % tp == 0 : tp % spec.n_kv_heads == 0;
}

// Every tp that the shapes allow, ascending.
std::vector<int> allowed_tp(const ModelSpec& spec) {
  std::vector<int> allowed;
  for (int tp = 1; tp <= std::min({kMaxTp, spec.n_heads, spec.intermediate, spec.vocab}); ++tp) {
    if (heads_allow(spec, tp)) allowed.push_back(tp);
  }
  return allowed;
}

Status check_tp(const ModelSpec& spec, int tp) {
  if (tp < 1 || tp > kMaxTp) {
    return invalid_argument(fmt::format("tp is {}, but must be from 1 to {}.", tp, kMaxTp));
  }
  std::string reason;
  if (spec.n_heads % tp != 0) {
    reason = fmt::format("{} attention heads do not divide by it", spec.n_heads);
  } else if (!heads_allow(spec, tp)) {
    reason = fmt::format("{} key-value heads can neither be cut by it nor replicated to it",
                         spec.n_kv_heads);
  } else if (spec.intermediate < tp) {
    reason = fmt::format("the MLP is only {} wide", spec.intermediate);
  } else if (spec.vocab < tp) {
    reason = fmt::format("the vocabulary has only {} entries", spec.vocab);
  } else {
    return {};
  }
  return invalid_argument(fmt::format("tp {} does not fit this model: {}; tp may be {}.", tp,
                                      reason, fmt::join(allowed_tp(spec), ", ")));
}

// Bytes read for a token, in parameters: what a stage's decode time goes by. The embedding is a
// lookup of one row.
int64_t layer_cost(const ModelSpec& spec) {
  const int64_t attention = int64_t{spec.n_heads + spec.n_kv_heads} * 2 * spec.head_dim;
  return int64_t{spec.hidden} * (attention + 3 * int64_t{spec.intermediate});
}
int64_t head_cost(const ModelSpec& spec) { return int64_t{spec.vocab} * spec.hidden; }

// The last stage also computes the head, so it gets `n_last` layers, and the others share the rest
// as evenly as can be: the n_last with the cheapest costliest stage wins; among equals, the one
// with more layers on the last stage, since the others hold the embedding or more KV.
std::vector<int> stages_by_cost(const ModelSpec& spec, int pp) {
  if (pp == 1) return {spec.n_layers};
  const int n_others = pp - 1;
  int64_t best_cost = INT64_MAX;
  int best_last = 1;
  for (int n_last = 1; n_last <= spec.n_layers - n_others; ++n_last) {
    const int64_t widest = (spec.n_layers - n_last + n_others - 1) / n_others;
    const int64_t cost =
        std::max(widest * layer_cost(spec), n_last * layer_cost(spec) + head_cost(spec));
    if (cost <= best_cost) {
      best_cost = cost;
      best_last = n_last;
    }
  }
  const int rest = spec.n_layers - best_last;
  std::vector<int> layers(static_cast<size_t>(n_others), rest / n_others);
  // Stages after the first take the odd layers: the first holds the embedding besides.
  for (int i = 0; i < rest % n_others; ++i) ++layers[static_cast<size_t>(n_others - 1 - i)];
  layers.push_back(best_last);
  return layers;
}

Result<std::vector<int>> choose_stages(const ModelSpec& spec, const ParallelOptions& options) {
  if (options.pp < 1 || options.pp > spec.n_layers) {
    return invalid_argument(fmt::format("pp is {}, but must be from 1 to the model's {} layers.",
                                        options.pp, spec.n_layers));
  }
  const std::vector<int>& stages = options.stage_layers;
  if (stages.empty()) return stages_by_cost(spec, options.pp);
  if (stages.size() != static_cast<size_t>(options.pp)) {
    return invalid_argument(
        fmt::format("stage_layers has {} entries for pp {}.", stages.size(), options.pp));
  }
  int64_t sum = 0;
  for (const int n : stages) {
    if (n < 1) return invalid_argument(fmt::format("stage_layers has a stage of {} layers.", n));
    sum += n;
  }
  if (sum != spec.n_layers) {
    return invalid_argument(
        fmt::format("stage_layers add up to {}, but the model has {} layers.", sum, spec.n_layers));
  }
  return stages;
}

// Part i of `total` units in `parts` parts: sizes differ by one at most, the larger first.
Range even_part(int64_t total, int64_t parts, int64_t i) {
  const int64_t base = total / parts;
  const int64_t extra = total % parts;
  const int64_t begin = i * base + std::min(i, extra);
  return {begin, begin + base + (i < extra ? 1 : 0)};
}

Range kv_heads_of(const ModelSpec& spec, int tp, int tp_rank) {
  if (tp <= spec.n_kv_heads) return even_part(spec.n_kv_heads, tp, tp_rank);
  const int64_t head = tp_rank / (tp / spec.n_kv_heads);
  return {head, head + 1};
}

// Appends the slices of one layer. Norms, and the biases of row-parallel projections, are whole on
// every rank.
class LayerSlices {
 public:
  LayerSlices(const ModelSpec& spec, const RankPlan& rank, std::vector<TensorSlice>& out)
      : spec_(spec), rank_(rank), out_(out) {}

  void append(int64_t layer) {
    prefix_ = fmt::format("model.layers.{}.", layer);
    const int64_t hidden = spec_.hidden;
    const int64_t d = spec_.head_dim;
    const int64_t q_rows = spec_.n_heads * d;
    const int64_t kv_rows = spec_.n_kv_heads * d;
    const Range q{rank_.heads.begin * d, rank_.heads.end * d};
    const Range kv{rank_.kv_heads.begin * d, rank_.kv_heads.end * d};
    vector("input_layernorm.weight", hidden, {0, hidden});
    column_parallel("self_attn.q_proj", q_rows, q, spec_.attention_bias);
    column_parallel("self_attn.k_proj", kv_rows, kv, spec_.attention_bias);
    column_parallel("self_attn.v_proj", kv_rows, kv, spec_.attention_bias);
    row_parallel("self_attn.o_proj", q_rows, q, spec_.attention_bias);
    vector("post_attention_layernorm.weight", hidden, {0, hidden});
    column_parallel("mlp.gate_proj", spec_.intermediate, rank_.intermediate, spec_.mlp_bias);
    column_parallel("mlp.up_proj", spec_.intermediate, rank_.intermediate, spec_.mlp_bias);
    row_parallel("mlp.down_proj", spec_.intermediate, rank_.intermediate, spec_.mlp_bias);
  }

 private:
  void vector(const std::string& name, int64_t length, Range rows) {
    out_.push_back({prefix_ + name, {length}, rows, {0, 1}});
  }
  void column_parallel(const std::string& name, int64_t n_out, Range rows, bool bias) {
    out_.push_back({prefix_ + name + ".weight", {n_out, spec_.hidden}, rows, {0, spec_.hidden}});
    if (bias) vector(name + ".bias", n_out, rows);
  }
  void row_parallel(const std::string& name, int64_t n_in, Range columns, bool bias) {
    out_.push_back({prefix_ + name + ".weight", {spec_.hidden, n_in}, {0, spec_.hidden}, columns});
    if (bias) vector(name + ".bias", spec_.hidden, {0, spec_.hidden});
  }

  const ModelSpec& spec_;
  const RankPlan& rank_;
  std::vector<TensorSlice>& out_;
  std::string prefix_;
};

}  // namespace

std::vector<TensorSlice> ParallelPlan::tensor_slices(const ModelSpec& spec, int worker_rank) const {
  CHECK_LE(0, worker_rank);
  CHECK_LT(static_cast<size_t>(worker_rank), ranks.size());
  const RankPlan& rank = ranks[static_cast<size_t>(worker_rank)];
  const std::vector<int64_t> matrix_shape = {spec.vocab, spec.hidden};
  const Range all_hidden{0, spec.hidden};
  std::vector<TensorSlice> slices;
  if (rank.first_stage) {
    slices.push_back({"model.embed_tokens.weight", matrix_shape, rank.vocab, all_hidden});
  }
  LayerSlices layer_slices(spec, rank, slices);
  for (int64_t layer = rank.layers.begin; layer < rank.layers.end; ++layer) {
    layer_slices.append(layer);
  }
  if (rank.last_stage) {
    slices.push_back({"model.norm.weight", {spec.hidden}, all_hidden, {0, 1}});
    // A tied head is the embedding's rows; a stage that is first and last has them already.
    if (!spec.tied_embeddings) {
      slices.push_back({"lm_head.weight", matrix_shape, rank.vocab, all_hidden});
    } else if (!rank.first_stage) {
      slices.push_back({"model.embed_tokens.weight", matrix_shape, rank.vocab, all_hidden});
    }
  }
  return slices;
}

std::string ParallelPlan::to_string() const {
  std::vector<int64_t> layers;
  for (int stage = 0; stage < pp; ++stage) {
    layers.push_back(ranks[static_cast<size_t>(stage * tp)].layers.size());
  }
  return fmt::format("tp {} x pp {} (layers {})", tp, pp, fmt::join(layers, " + "));
}

Result<ParallelPlan> make_parallel_plan(const ModelSpec& spec, const ParallelOptions& options) {
  TRY(check_tp(spec, options.tp));
  ASSIGN_OR_RETURN(const std::vector<int> stages, choose_stages(spec, options));
  ParallelPlan plan;
  plan.tp = options.tp;
  plan.pp = options.pp;
  int64_t first_layer = 0;
  for (int stage = 0; stage < plan.pp; ++stage) {
    const int64_t n_layers = stages[static_cast<size_t>(stage)];
    for (int tp_rank = 0; tp_rank < plan.tp; ++tp_rank) {
      RankPlan rank;
      rank.worker_rank = stage * plan.tp + tp_rank;
      rank.tp_rank = tp_rank;
      rank.stage = stage;
      rank.first_stage = stage == 0;
      rank.last_stage = stage == plan.pp - 1;
      rank.layers = {first_layer, first_layer + n_layers};
      rank.heads = even_part(spec.n_heads, plan.tp, tp_rank);
      rank.kv_heads = kv_heads_of(spec, plan.tp, tp_rank);
      rank.intermediate = even_part(spec.intermediate, plan.tp, tp_rank);
      rank.vocab_padded = (int64_t{spec.vocab} + plan.tp - 1) / plan.tp;
      const int64_t vocab = spec.vocab;
      rank.vocab = {std::min(vocab, tp_rank * rank.vocab_padded),
                    std::min(vocab, (tp_rank + 1) * rank.vocab_padded)};
      plan.ranks.push_back(rank);
    }
    first_layer += n_layers;
  }
  return plan;
}

}  // namespace trireme::plan
