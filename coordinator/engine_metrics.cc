#include "coordinator/engine_metrics.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::coordinator {

namespace {

constexpr LedgerPart kTenantParts[] = {LedgerPart::kPrefill, LedgerPart::kDecode,
                                       LedgerPart::kRecompute, LedgerPart::kResume};
constexpr char kPromptHelp[] = "Prompt tokens by where their KV came from.";
constexpr char kCostHelp[] = "Device time in dollars, by who caused it.";
constexpr char kPerMillionHelp[] = "Measured dollars per million tokens.";
constexpr char kStartupHelp[] =
    "Seconds of start-up, of the slowest rank; graphs: 0 where a backend captures none.";

double usd(int64_t nano) { return static_cast<double>(nano) * 1e-9; }

size_t index_of(LedgerPart part) { return static_cast<size_t>(part); }

MetricLabels joined(MetricLabels labels, const MetricLabels& more) {
  labels.insert(more.begin(), more.end());
  return labels;
}

}  // namespace

Counter EngineMetrics::Maker::counter(const char* name, const char* help,
                                      const MetricLabels& more) const {
  return registry.counter(name, help, joined(labels, more));
}

Gauge EngineMetrics::Maker::gauge(const char* name, const char* help,
                                  const MetricLabels& more) const {
  return registry.gauge(name, help, joined(labels, more));
}

Histogram EngineMetrics::Maker::histogram(const char* name, const char* help,
                                          const std::vector<double>& bounds) const {
  return registry.histogram(name, help, bounds, labels);
}

EngineMetrics::EngineMetrics(MetricsRegistry& registry, const Options& options)
    : make_{registry, {{"model", options.model}, {"replica", options.replica}}},
      prompt_tokens_computed(
          make_.counter("prompt_tokens_total", kPromptHelp, {{"source", "computed"}})),
      prompt_tokens_cached(
          make_.counter("prompt_tokens_total", kPromptHelp, {{"source", "cached"}})),
      prompt_tokens_recomputed(
          make_.counter("prompt_tokens_total", kPromptHelp, {{"source", "recomputed"}})),
      prompt_tokens_resumed(
          make_.counter("prompt_tokens_total", kPromptHelp, {{"source", "resumed"}})),
      generation_tokens(make_.counter("generation_tokens_total", "Sampled tokens.")),
      prefix_queries(make_.counter("prefix_cache_queries_total",
                                   "Prompt tokens looked up in the prefix cache.")),
      prefix_hits(
          make_.counter("prefix_cache_hits_total", "Prompt tokens found in the prefix cache.")),
      preemptions(make_.counter("preemptions_total", "Sequences preempted for their blocks.")),
      step_tokens(make_.histogram("step_tokens", "Tokens of a step.", buckets::step_tokens())),
      requests_running_(make_.gauge("requests_running", "Requests admitted to the batch.")),
      requests_waiting_(make_.gauge("requests_waiting", "Requests waiting for admission.")),
      kv_usage_(make_.gauge("kv_cache_usage_ratio", "Held share of the KV blocks, 0 to 1.")),
      kv_blocks_total_(make_.gauge("kv_cache_blocks_total", "KV blocks of the pool.")),
      kv_blocks_used_(make_.gauge("kv_cache_blocks_used", "KV blocks held by sequences.")),
      kv_blocks_cached_(
          make_.gauge("kv_cache_blocks_cached", "KV blocks held by nobody that can be reused.")),
      kv_bytes_total_(make_.gauge("kv_cache_bytes_total", "Bytes of the KV pool, all ranks.")),
      kv_bytes_used_(make_.gauge("kv_cache_bytes_used", "Bytes held by sequences, all ranks.")),
      kv_bytes_cached_(
          make_.gauge("kv_cache_bytes_cached", "Bytes held by nobody that can be reused.")),
      time_to_first_token_(make_.histogram("time_to_first_token_seconds",
                                           "From submission to the first token.",
                                           buckets::time_to_first_token())),
      inter_token_latency_(
          make_.histogram("inter_token_latency_seconds", "Between two tokens of a request.",
                          buckets::inter_token_latency()),
          buckets::inter_token_latency()),
      time_per_output_token_(make_.histogram("time_per_output_token_seconds",
                                             "Mean gap of a request: (E2E - TTFT) / (N - 1).",
                                             buckets::inter_token_latency())),
      e2e_latency_(make_.histogram("e2e_request_latency_seconds", "From submission to the end.",
                                   buckets::request_latency())),
      queue_time_(make_.histogram("request_queue_time_seconds", "From submission to admission.",
                                  buckets::request_latency())),
      prefill_time_(make_.histogram("request_prefill_time_seconds",
                                    "From admission to the first token.",
                                    buckets::request_latency())),
      decode_time_(make_.histogram("request_decode_time_seconds",
                                   "From the first token to the end.", buckets::request_latency())),
      request_prompt_tokens_(make_.histogram("request_prompt_tokens", "Prompt tokens of a request.",
                                             buckets::tokens_up_to(options.context))),
      request_generation_tokens_(make_.histogram("request_generation_tokens",
                                                 "Output tokens of a request.",
                                                 buckets::tokens_up_to(options.context))),
      idle_cost_(
          make_.counter("cost_usd_total", kCostHelp, {{"tenant", "none"}, {"phase", "idle"}})),
      startup_cost_(
          make_.counter("cost_usd_total", kCostHelp, {{"tenant", "none"}, {"phase", "startup"}})),
      prefill_realised_(make_.gauge("cost_per_million_tokens_usd", kPerMillionHelp,
                                    {{"phase", "prefill"}, {"basis", "realised"}})),
      prefill_floor_(make_.gauge("cost_per_million_tokens_usd", kPerMillionHelp,
                                 {{"phase", "prefill"}, {"basis", "floor"}})),
      decode_realised_(make_.gauge("cost_per_million_tokens_usd", kPerMillionHelp,
                                   {{"phase", "decode"}, {"basis", "realised"}})),
      decode_floor_(make_.gauge("cost_per_million_tokens_usd", kPerMillionHelp,
                                {{"phase", "decode"}, {"basis", "floor"}})),
      startup_weights_(make_.gauge("startup_seconds", kStartupHelp, {{"phase", "weights"}})),
      startup_comm_(make_.gauge("startup_seconds", kStartupHelp, {{"phase", "comm"}})),
      startup_graphs_(make_.gauge("startup_seconds", kStartupHelp, {{"phase", "graphs"}})),
      startup_warm_up_(make_.gauge("startup_seconds", kStartupHelp, {{"phase", "warmup"}})),
      experts_(registry, make_.labels) {
  for (int rank = 0; rank < options.n_ranks; ++rank) ranks_.push_back(make_rank(rank));
  if (options.vllm_names) {
    const MetricLabels labels = {{"model_name", options.model}, {"engine", options.replica}};
    vllm_.push_back(registry.foreign_gauge("vllm:num_requests_waiting", "Waiting.", labels));
    vllm_.push_back(registry.foreign_gauge("vllm:num_requests_running", "Running.", labels));
    vllm_.push_back(
        registry.foreign_gauge("vllm:kv_cache_usage_perc", "KV share, 0 to 1.", labels));
    vllm_.push_back(
        registry.foreign_gauge("vllm:gpu_cache_usage_perc", "KV share, 0 to 1.", labels));
  }
}

EngineMetrics::RankSeries EngineMetrics::make_rank(int rank) const {
  const std::string name = std::to_string(rank);
  const auto stage = [&](const char* state) {
    return make_.counter("stage_seconds_total", "Where a rank's time went.",
                         {{"rank", name}, {"state", state}});
  };
  return {
      stage("compute"),
      stage("collective"),
      stage("wait_upstream"),
      stage("wait_downstream"),
      stage("idle"),
      make_.counter("slowest_rank_total", "Steps in which this rank computed longest.",
                    {{"rank", name}}),
      make_.counter("steps_ahead_total",
                    "Steps that a rank began before the one before was finished.",
                    {{"rank", name}}),
      make_.counter("steps_redone_total",
                    "Steps begun ahead that a rank did again, for other tokens than it guessed.",
                    {{"rank", name}}),
      make_.gauge("decode_graphs", "Decode steps of one size that a rank keeps recorded.",
                  {{"rank", name}}),
      make_.gauge("decode_graph_bytes", "Device memory that recorded decode steps took.",
                  {{"rank", name}})};
}

void EngineMetrics::ensure_tenant(int32_t tenant, const std::string& name) {
  while (tenants_.size() <= static_cast<size_t>(tenant)) tenants_.emplace_back();
  TenantSeries& series = tenants_[static_cast<size_t>(tenant)];
  if (!series.cost.empty()) return;
  for (const LedgerPart part : kTenantParts) {
    series.cost.push_back(make_.counter(
        "cost_usd_total", kCostHelp, {{"tenant", name}, {"phase", std::string(to_string(part))}}));
  }
}

Counter& EngineMetrics::outcome(std::string_view outcome) {
  const auto found = outcomes_.find(outcome);
  if (found != outcomes_.end()) return found->second;
  const std::string name(outcome);
  const Counter counter =
      make_.counter("requests_total", "Requests by how they ended.", {{"outcome", name}});
  return outcomes_.emplace(name, counter).first->second;
}

void EngineMetrics::add_cost(int32_t tenant, LedgerPart part, int64_t nano) {
  TenantSeries& series = tenants_[static_cast<size_t>(tenant)];
  series.pending[index_of(part)] += nano;
  if (series.touched) return;
  series.touched = true;
  touched_.push_back(tenant);
}

void EngineMetrics::flush_costs() {
  for (const int32_t tenant : touched_) {
    TenantSeries& series = tenants_[static_cast<size_t>(tenant)];
    for (size_t i = 0; i < std::size(kTenantParts); ++i) {
      const int64_t nano = series.pending[index_of(kTenantParts[i])];
      if (nano > 0) series.cost[i].add(usd(nano));
    }
    series.pending = {};
    series.touched = false;
  }
  touched_.clear();
}

void EngineMetrics::add_prompt_tokens(int64_t computed, int64_t recomputed, int64_t resumed) {
  if (computed > 0) prompt_tokens_computed.add(static_cast<double>(computed));
  if (recomputed > 0) prompt_tokens_recomputed.add(static_cast<double>(recomputed));
  if (resumed > 0) prompt_tokens_resumed.add(static_cast<double>(resumed));
}

void EngineMetrics::add_own_cost(LedgerPart part, int64_t nano) {
  if (nano <= 0) return;
  (part == LedgerPart::kIdle ? idle_cost_ : startup_cost_).add(usd(nano));
}

void EngineMetrics::observe_finish(int64_t e2e_ns, const wire::TokenUpdate& usage, int32_t n_prompt,
                                   int32_t n_outputs) {
  e2e_latency_.observe(seconds(e2e_ns));
  queue_time_.observe(seconds(usage.queue_ns));
  prefill_time_.observe(seconds(usage.prefill_ns));
  decode_time_.observe(seconds(usage.decode_ns));
  request_prompt_tokens_.observe(n_prompt);
  request_generation_tokens_.observe(n_outputs);
  if (n_outputs > 1) time_per_output_token_.observe(seconds(usage.decode_ns) / (n_outputs - 1));
}

void EngineMetrics::set_gauges(const EngineGauges& g) {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  const double usage = g.blocks_total > 0 ? number(g.blocks_used) / number(g.blocks_total) : 0;
  requests_running_.set(number(g.running));
  requests_waiting_.set(number(g.waiting));
  kv_usage_.set(usage);
  kv_blocks_total_.set(number(g.blocks_total));
  kv_blocks_used_.set(number(g.blocks_used));
  kv_blocks_cached_.set(number(g.blocks_cached));
  kv_bytes_total_.set(number(g.blocks_total * g.bytes_per_block));
  kv_bytes_used_.set(number(g.blocks_used * g.bytes_per_block));
  kv_bytes_cached_.set(number(g.blocks_cached * g.bytes_per_block));
  if (vllm_.empty()) return;
  vllm_[0].set(number(g.waiting));
  vllm_[1].set(number(g.running));
  vllm_[2].set(usage);
  vllm_[3].set(usage);
}

// floor: the phase's own cost. realised: with its share of what nobody asked for (idle, startup,
// recompute, resume).
void EngineMetrics::set_cost_per_million(const wire::LedgerReport& report) {
  const int64_t own = report.prefill_nano_usd + report.decode_nano_usd;
  if (own == 0) return;
  const double overhead =
      static_cast<double>(report.total_nano_usd) / static_cast<double>(own);  // >= 1
  const auto set = [&](int64_t nano, int64_t tokens, Gauge& floor, Gauge& realised) {
    if (tokens == 0) return;
    const double per_million = usd(nano) / static_cast<double>(tokens) * 1e6;
    floor.set(per_million);
    realised.set(per_million * overhead);
  };
  set(report.prefill_nano_usd, report.prompt_tokens, prefill_floor_, prefill_realised_);
  set(report.decode_nano_usd, report.generated_tokens, decode_floor_, decode_realised_);
}

void EngineMetrics::set_startup(int64_t weights_ns, int64_t comm_ns) {
  startup_weights_.set(seconds(weights_ns));
  startup_comm_.set(seconds(comm_ns));
}

void EngineMetrics::add_stage_time(const step::StageTiming& timing, int64_t idle_ns) {
  RankSeries& rank = ranks_[static_cast<size_t>(timing.worker_rank)];
  const auto add = [](Counter& counter, int64_t ns) {
    if (ns > 0) counter.add(seconds(ns));
  };
  add(rank.compute, timing.compute_ns);
  add(rank.collective, timing.collective_ns);
  add(rank.wait_upstream, timing.wait_upstream_ns);
  add(rank.wait_downstream, timing.wait_downstream_ns);
  add(rank.idle, idle_ns);
  if (timing.n_ahead > 0) rank.ahead.add(static_cast<double>(timing.n_ahead));
  if (timing.n_redone > 0) rank.redone.add(static_cast<double>(timing.n_redone));
  rank.graphs.set(static_cast<double>(timing.n_graphs));
  rank.graph_bytes.set(static_cast<double>(timing.graph_bytes));
}

void EngineMetrics::add_slowest(int32_t rank) { ranks_[static_cast<size_t>(rank)].slowest.add(); }

void EngineMetrics::add_deadline_exceeded(int32_t rank, const std::string& op) {
  make_
      .counter("step_deadline_exceeded_total", "Steps that a rank did not finish in time.",
               {{"rank", std::to_string(rank)}, {"op", op}})
      .add();
}

}  // namespace trireme::coordinator
