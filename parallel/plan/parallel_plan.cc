#include "parallel/plan/parallel_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/cluster_config.h"
#include "parallel/plan/model_size.h"

namespace trireme::plan {
namespace {

constexpr int kMaxTp = 1024;

bool has_dense_layer(const ModelSpec& spec) {
  return std::any_of(spec.layers.begin(), spec.layers.end(),
                     [](const LayerSpec& layer) { return !layer.moe; });
}

// Latent attention has no key-value heads to cut: every rank holds the latent.
bool heads_allow(const ModelSpec& spec, int tp) {
  if (spec.n_heads % tp != 0) return false;
  if (spec.mla) return true;
  return tp <= spec.n_kv_heads ? spec.n_kv_heads % tp == 0 : tp % spec.n_kv_heads == 0;
}

// Why the shapes forbid `tp`, or nothing.
std::string obstacle(const ModelSpec& spec, int tp, ExpertCut cut) {
  if (spec.n_heads % tp != 0) {
    return fmt::format("{} attention heads do not divide by it", spec.n_heads);
  }
  if (!heads_allow(spec, tp)) {
    return fmt::format("{} key-value heads can neither be cut by it nor replicated to it",
                       spec.n_kv_heads);
  }
  if (has_dense_layer(spec) && spec.intermediate < tp) {
    return fmt::format("the MLP is only {} wide", spec.intermediate);
  }
  if (spec.vocab < tp) return fmt::format("the vocabulary has only {} entries", spec.vocab);
  if (!spec.moe) return "";
  if (cut == ExpertCut::kExpert && spec.moe->n_experts < tp) {
    return fmt::format("there are only {} experts to deal out", spec.moe->n_experts);
  }
  if (cut == ExpertCut::kTensor && spec.moe->width < tp) {
    return fmt::format("an expert is only {} wide", spec.moe->width);
  }
  if (spec.moe->shared_width > 0 && spec.moe->shared_width < tp) {
    return fmt::format("the shared expert is only {} wide", spec.moe->shared_width);
  }
  return "";
}

Status check_tp(const ModelSpec& spec, int tp, ExpertCut cut) {
  if (tp < 1 || tp > kMaxTp) {
    return invalid_argument(fmt::format("tp is {}, but must be from 1 to {}.", tp, kMaxTp));
  }
  const std::string reason = obstacle(spec, tp, cut);
  if (reason.empty()) return {};
  std::vector<int> allowed;
  for (int other = 1; other <= std::min(kMaxTp, spec.n_heads); ++other) {
    if (obstacle(spec, other, cut).empty()) allowed.push_back(other);
  }
  return invalid_argument(fmt::format("tp {} does not fit this model: {}; tp may be {}.", tp,
                                      reason, fmt::join(allowed, ", ")));
}

// What a stage's decode time goes by: the weights that a token meets in each layer. The embedding
// is a lookup of one row.
std::vector<double> layer_costs(const ModelSpec& spec) {
  std::vector<double> costs;
  for (const LayerSpec& layer : spec.layers) {
    const LayerSize size = layer_size(spec, layer, Share::whole(spec));
    costs.push_back(static_cast<double>(size.always) +
                    static_cast<double>(size.routed) * routed_share(spec, 1));
  }
  return costs;
}

// Cuts the layers into contiguous stages of which the costliest is as cheap as can be. The last
// stage carries `head_cost` besides its layers.
class StageCut {
 public:
  StageCut(std::vector<double> costs, double head_cost, int pp)
      : costs_(std::move(costs)), head_cost_(head_cost), pp_(pp) {
    for (const double cost : costs_) sums_.push_back(sums_.back() + cost);
  }

  std::vector<int> stages() const {
    const double limit = cheapest_limit();
    std::vector<int> counts;
    int first = 0;
    for (int stage = 0; stage < pp_ - 1; ++stage) {
      // An even part of what is left, or as much more as lets the others stay under the limit.
      const int left = pp_ - stage;
      const double even = (sums_.back() - sum(first)) / left;
      const int most = n_layers() - first - (left - 1);  // every stage has a layer
      int n = 1;
      while (n < most && sum(first + n + 1) - sum(first) <= even * (1 + kSlack)) ++n;
      while (!fits(first + n, left - 1, limit)) ++n;
      counts.push_back(n);
      first += n;
    }
    counts.push_back(n_layers() - first);
    return counts;
  }

 private:
  static constexpr double kSlack = 1e-9;  // of sums in another order

  int n_layers() const { return static_cast<int>(costs_.size()); }
  double sum(int end) const { return sums_.at(static_cast<size_t>(std::min(end, n_layers()))); }

  // Whether layers [first, ...) fit `n_stages` stages under `limit`, filling from the back.
  bool fits(int first, int n_stages, double limit) const {
    int end = n_layers();
    for (int stage = 0; stage < n_stages; ++stage) {
      double cost = stage == 0 ? head_cost_ : 0;
      const int reserve = first + (n_stages - 1 - stage);  // a layer for each stage before
      const int before = end;
      while (end > reserve &&
             (cost += costs_[static_cast<size_t>(end - 1)]) <= limit * (1 + kSlack)) {
        --end;
      }
      if (end == before) return false;
    }
    return end == first;
  }

  double cheapest_limit() const {
    double low = 0;
    double high = sums_.back() + head_cost_;
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      (fits(0, pp_, middle) ? high : low) = middle;
    }
    return high;
  }

  std::vector<double> costs_;
  std::vector<double> sums_ = {0};
  double head_cost_;
  int pp_;
};

std::vector<int> stages_by_cost(const ModelSpec& spec, int pp) {
  if (pp == 1) return {spec.n_layers()};
  const double head_cost = static_cast<double>(int64_t{spec.vocab} * spec.hidden);
  return StageCut(layer_costs(spec), head_cost, pp).stages();
}

Result<std::vector<int>> choose_stages(const ModelSpec& spec, const ParallelOptions& options) {
  if (options.pp < 1 || options.pp > spec.n_layers()) {
    return invalid_argument(fmt::format("pp is {}, but must be from 1 to the model's {} layers.",
                                        options.pp, spec.n_layers()));
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
  if (sum != spec.n_layers()) {
    return invalid_argument(fmt::format("stage_layers add up to {}, but the model has {} layers.",
                                        sum, spec.n_layers()));
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
  if (spec.mla) return {0, spec.n_kv_heads};
  if (tp <= spec.n_kv_heads) return even_part(spec.n_kv_heads, tp, tp_rank);
  const int64_t head = tp_rank / (tp / spec.n_kv_heads);
  return {head, head + 1};
}

void cut_experts(const MoeSpec& moe, const ParallelOptions& options, int tp_rank, RankPlan& rank) {
  const bool by_expert = options.experts == ExpertCut::kExpert;
  rank.experts =
      by_expert ? even_part(moe.n_experts, options.tp, tp_rank) : Range{0, moe.n_experts};
  rank.expert_columns = by_expert ? Range{0, moe.width} : even_part(moe.width, options.tp, tp_rank);
  rank.shared_columns = even_part(moe.shared_width, options.tp, tp_rank);
}

}  // namespace

ParallelOptions parallel_options(const ReplicaConfig& config) {
  return {.tp = config.tp,
          .pp = config.pp,
          .stage_layers = config.stage_layers,
          .experts = config.experts == "tensor" ? ExpertCut::kTensor : ExpertCut::kExpert};
}

std::vector<ExpertCut> expert_cuts(const ModelSpec& spec, int tp) {
  if (!spec.moe || tp == 1) return {ExpertCut::kExpert};
  return {ExpertCut::kExpert, ExpertCut::kTensor};
}

std::string ParallelPlan::to_string() const {
  std::vector<int64_t> layers;
  layers.reserve(static_cast<size_t>(pp));
  for (int stage = 0; stage < pp; ++stage) {
    layers.push_back(ranks[static_cast<size_t>(stage * tp)].layers.size());
  }
  return fmt::format("tp {} x pp {} (layers {}{})", tp, pp, fmt::join(layers, " + "),
                     experts == ExpertCut::kTensor ? ", experts sliced" : "");
}

Result<ParallelPlan> make_parallel_plan(const ModelSpec& spec, const ParallelOptions& options) {
  TRY(check_tp(spec, options.tp, options.experts));
  ASSIGN_OR_RETURN(const std::vector<int> stages, choose_stages(spec, options));
  ParallelPlan plan;
  plan.tp = options.tp;
  plan.pp = options.pp;
  if (spec.moe && plan.tp > 1) plan.experts = options.experts;
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
      if (spec.moe) cut_experts(*spec.moe, options, tp_rank, rank);
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
