#include "parallel/plan/cost_model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "parallel/plan/model_size.h"

namespace trireme::plan {
namespace {

constexpr double kActivationBytes = 2;  // per element on the wire: bf16

double to_double(int64_t value) { return static_cast<double>(value); }

// What the fullest of `n` parts is expected to hold, of parts with this mean and variance: the
// usual bound for the largest of n draws.
double fullest(double mean, double variance, int n) {
  return mean + std::sqrt(2 * std::log(n) * variance);
}

// Of a rank's routed weights, the share that a step of n_tokens reads, and the share that each
// token is multiplied with, on the rank that has the most to do.
struct RoutedLoad {
  double read = 0;
  double met = 0;
};

RoutedLoad routed_load(const ModelSpec& spec, const ParallelPlan& plan, const RankPlan& rank,
                       double n_tokens) {
  if (!spec.moe) return {};
  const double n_experts = spec.moe->n_experts;
  const double top_k = spec.moe->top_k;
  const double held = to_double(rank.experts.size());
  const double touched = routed_share(spec, n_tokens);
  const double columns = to_double(rank.expert_columns.size());
  const double padding = std::ceil(columns / kExpertTileColumns) * kExpertTileColumns / columns;
  if (plan.experts == ExpertCut::kTensor || plan.tp == 1) {
    return {touched, top_k / n_experts * padding};
  }
  const double n_read = fullest(held * touched, held * touched * (1 - touched), plan.tp);
  const double choices = n_tokens * top_k * held / n_experts;
  const double n_met = fullest(choices, choices * (1 - held / n_experts), plan.tp);
  return {std::min({n_read, held, n_tokens * top_k}) / held,
          std::min(n_met, n_tokens * std::min(top_k, held)) / (n_tokens * held) * padding};
}

// A step of one stage: n_tokens computed, each attending to `context` earlier tokens that
// n_sequences hold.
struct StageStep {
  double n_tokens = 1;
  double n_sequences = 1;
  double context = 0;
  double n_logits_rows = 1;
};

class StageCost {
 public:
  StageCost(const ModelSpec& spec, const ParallelPlan& plan, const Topology& topology,
            const Workload& workload)
      : spec_(spec), plan_(plan), topology_(topology), workload_(workload) {}

  double seconds(int stage, const StageStep& step) const {
    const RankPlan& rank = plan_.ranks[static_cast<size_t>(stage * plan_.tp)];
    const double bandwidth = topology_.device.memory_bytes_per_s * kBandwidthShare;
    const double flops = topology_.device.bf16_flops * kFlopsShare;
    const double weight_bytes = to_double(static_cast<int64_t>(size_of(workload_.weight_dtype)));
    const double layers = to_double(rank.layers.size());
    const double heads = to_double(rank.heads.size());
    const RoutedLoad load = routed_load(spec_, plan_, rank, step.n_tokens);
    double linear = 0;
    // The first tp rank is the widest where a width does not divide.
    for (int64_t i = rank.layers.begin; i < rank.layers.end; ++i) {
      const LayerSize size =
          layer_size(spec_, spec_.layers[static_cast<size_t>(i)], Share::of(rank));
      const LayerBytes bytes =
          layer_bytes(spec_, size, {workload_.weight_dtype, workload_.keep_low_bit});
      const double met = to_double(size.always) + to_double(size.routed) * load.met;
      linear += roof(bytes.always + bytes.routed * load.read, met, step.n_tokens, bandwidth, flops);
    }
    const double head_weights = rank.last_stage && !spec_.encoder
                                    ? to_double(rank.vocab_padded) * to_double(spec_.hidden)
                                    : 0;
    const double head =
        roof(head_weights * weight_bytes, head_weights, step.n_logits_rows, bandwidth, flops);
    const double kv_bytes = to_double(kv_elements(spec_, rank.kv_heads.size())) *
                            to_double(static_cast<int64_t>(size_of(workload_.kv_dtype)));
    const double head_width = spec_.mla ? spec_.mla->latent_width() : spec_.head_dim;
    const double seen = keys_seen(rank.layers, step.context);  // over the layers
    const double attention = step.n_sequences * seen * kv_bytes / bandwidth +
                             4 * heads * head_width * step.n_tokens * seen / flops;
    return kStageOverheadS + linear + head + attention + layers * 2 * all_reduce(step.n_tokens) +
           (rank.last_stage ? 0 : transfer(step.n_tokens));
  }

  std::vector<double> all_stages(const StageStep& step) const {
    std::vector<double> times;
    times.reserve(static_cast<size_t>(plan_.pp));
    for (int stage = 0; stage < plan_.pp; ++stage) times.push_back(seconds(stage, step));
    return times;
  }

 private:
  double keys_seen(Range layers, double context) const {
    double n = 0;
    for (int64_t i = layers.begin; i < layers.end; ++i) {
      const LayerSpec& layer = spec_.layers[static_cast<size_t>(i)];
      const bool full = layer.attention == AttentionKind::kFull;
      n += full ? context : std::min<double>(context, layer.span);
    }
    return n;
  }
  // `bytes` of weights come from memory, each token is multiplied with `met` of them.
  static double roof(double bytes, double met, double n_tokens, double bandwidth, double flops) {
    return std::max(bytes / bandwidth, 2 * n_tokens * met / flops);
  }
  double all_reduce(double n_tokens) const {
    if (plan_.tp == 1) return 0;
    const double bytes = n_tokens * spec_.hidden * kActivationBytes;
    return topology_.device.collective_latency_s +
           2.0 * (plan_.tp - 1) / plan_.tp * bytes / topology_.device.link_bytes_per_s;
  }
  double transfer(double n_tokens) const {
    const bool crosses_nodes = plan_.tp * plan_.pp > topology_.devices_per_node;
    const double bytes = n_tokens * spec_.hidden * kActivationBytes;
    if (crosses_nodes) return topology_.network_latency_s + bytes / topology_.network_bytes_per_s;
    return topology_.device.collective_latency_s + bytes / topology_.device.link_bytes_per_s;
  }

  const ModelSpec& spec_;
  const ParallelPlan& plan_;
  const Topology& topology_;
  const Workload& workload_;
};

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}
double largest(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

// The prompt goes through in chunks, the stages working on successive chunks at once.
void estimate_prefill(const StageCost& cost, const Workload& workload, PlanEstimate& estimate) {
  const int32_t chunk = std::min(workload.prompt_tokens, workload.max_step_tokens);
  const int32_t n_chunks = (workload.prompt_tokens + chunk - 1) / chunk;
  const StageStep step{.n_tokens = static_cast<double>(workload.prompt_tokens) / n_chunks,
                       .n_sequences = 1,
                       .context = workload.prompt_tokens / 2.0};
  const std::vector<double> stages = cost.all_stages(step);
  estimate.time_to_first_token_s = sum(stages) + (n_chunks - 1) * largest(stages);
  const int p = estimate.plan.pp;
  estimate.prefill_bubble = static_cast<double>(p - 1) / (n_chunks + p - 1);
}

void estimate_decode(const StageCost& cost, const Workload& workload, PlanEstimate& estimate) {
  const double context = workload.context_tokens;
  estimate.one_stream_token_s =
      sum(cost.all_stages({.n_tokens = 1, .n_sequences = 1, .context = context}));
  // The sequences are dealt to pp micro-batches; fewer sequences than stages leave stages empty.
  const int pp = estimate.plan.pp;
  const int n_micro_batches = std::min(pp, estimate.n_sequences);
  const double n = static_cast<double>(estimate.n_sequences) / n_micro_batches;
  const std::vector<double> stages =
      cost.all_stages({.n_tokens = n, .n_sequences = n, .context = context, .n_logits_rows = n});
  // A micro-batch comes round when it has passed every stage, and when the costliest stage has
  // served all of them.
  estimate.full_batch_token_s = std::max(sum(stages), n_micro_batches * largest(stages));
  estimate.tokens_per_s = estimate.n_replicas * estimate.n_sequences / estimate.full_batch_token_s;
  estimate.decode_bubble = 1 - n_micro_batches * sum(stages) / (pp * estimate.full_batch_token_s);
}

// tp groups stay inside a node; a replica takes pp of them, wherever they are.
int count_replicas(const Topology& topology, int tp, int pp) {
  return topology.n_nodes * (topology.devices_per_node / tp) / pp;
}

}  // namespace

MemoryInputs memory_inputs(const Topology& topology, const Workload& workload) {
  MemoryInputs inputs;
  inputs.weight_dtype = workload.weight_dtype;
  inputs.keep_low_bit = workload.keep_low_bit;
  inputs.kv_dtype = workload.kv_dtype;
  inputs.max_step_tokens = workload.max_step_tokens;
  inputs.max_logits_rows = workload.max_sequences;
  inputs.memory_bytes = topology.device.memory_bytes;
  return inputs;
}

Result<PlanEstimate> estimate_plan(const ModelSpec& spec, const ParallelPlan& plan,
                                   const Topology& topology, const Workload& workload) {
  CHECK_LE(plan.tp, topology.devices_per_node);
  const MemoryInputs inputs = memory_inputs(topology, workload);
  ASSIGN_OR_RETURN(const int64_t n_blocks,
                   plan_kv_blocks(spec, plan, inputs, workload.context_tokens));
  PlanEstimate estimate;
  estimate.kv_layout = make_kv_layout(spec, plan);
  const int64_t per_sequence =
      kv_blocks_of(estimate.kv_layout, workload.context_tokens, inputs.block_size);
  estimate.plan = plan;
  estimate.n_replicas = count_replicas(topology, plan.tp, plan.pp);
  for (const RankPlan& rank : plan.ranks) {
    const RankMemory memory = rank_memory(spec, estimate.kv_layout, rank, inputs);
    if (memory.weight_bytes > estimate.largest_rank.weight_bytes) estimate.largest_rank = memory;
  }
  estimate.kv_tokens =
      static_cast<int64_t>(to_double(n_blocks) / to_double(per_sequence) * workload.context_tokens);
  estimate.n_sequences =
      static_cast<int32_t>(std::min<int64_t>(workload.max_sequences, n_blocks / per_sequence));
  const StageCost cost(spec, plan, topology, workload);
  estimate_prefill(cost, workload, estimate);
  estimate_decode(cost, workload, estimate);
  if (workload.usd_per_device_hour && estimate.tokens_per_s > 0) {
    const double usd_per_s = *workload.usd_per_device_hour * topology.n_devices() / 3600;
    estimate.usd_per_million_tokens = usd_per_s / estimate.tokens_per_s * 1e6;
  }
  return estimate;
}

namespace {

bool is_better(const PlanEstimate& a, const PlanEstimate& b) {
  if (a.tokens_per_s != b.tokens_per_s) return a.tokens_per_s > b.tokens_per_s;
  return a.one_stream_token_s < b.one_stream_token_s;
}

// With the better cut of the experts; where both are as good, whole ones.
Result<PlanEstimate> best_estimate(const ModelSpec& spec, int tp, int pp, const Topology& topology,
                                   const Workload& workload) {
  std::optional<PlanEstimate> best;
  Error reason;
  for (const ExpertCut cut : expert_cuts(spec, tp)) {
    const Result<ParallelPlan> plan =
        make_parallel_plan(spec, {.tp = tp, .pp = pp, .experts = cut});
    Result<PlanEstimate> estimate = plan.ok() ? estimate_plan(spec, *plan, topology, workload)
                                              : Result<PlanEstimate>(plan.error());
    if (!estimate.ok()) {
      if (reason.code != ErrorCode::kResourceExhausted) reason = estimate.error();
    } else if (!best || is_better(*estimate, *best)) {
      best = std::move(*estimate);
    }
  }
  if (!best) return reason;
  return std::move(*best);
}

}  // namespace

Result<std::vector<PlanEstimate>> rank_plans(const ModelSpec& spec, const Topology& topology,
                                             const Workload& workload) {
  std::vector<PlanEstimate> estimates;
  Error reason = invalid_argument("no plan fits these machines.");
  for (int tp = 1; tp <= topology.devices_per_node; ++tp) {
    for (int pp = 1; pp <= spec.n_layers() && count_replicas(topology, tp, pp) > 0; ++pp) {
      Result<PlanEstimate> estimate = best_estimate(spec, tp, pp, topology, workload);
      if (estimate.ok()) {
        estimates.push_back(std::move(*estimate));
      } else if (estimate.error().code == ErrorCode::kResourceExhausted) {
        reason = estimate.error();  // the last one tried is the widest
      }
    }
  }
  if (estimates.empty()) return reason;
  std::sort(estimates.begin(), estimates.end(), is_better);
  return estimates;
}

}  // namespace trireme::plan
