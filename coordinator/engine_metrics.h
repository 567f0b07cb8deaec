// The engine's series of the engine: looked up once, updated through handles. Labels: model,
// replica; tenants bounded by the tenant table. A step's costs are summed per tenant first, so that
// a step of a thousand sequences costs a few adds.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "coordinator/expert_metrics.h"
#include "coordinator/ledger/ledger.h"
#include "parallel/step/step_plan.h"
#include "parallel/wire/messages.h"

namespace trireme::coordinator {

struct EngineGauges {
  int64_t running = 0, waiting = 0;
  int64_t blocks_total = 0, blocks_used = 0, blocks_cached = 0;
  int64_t bytes_per_block = 0;
};

class EngineMetrics {
 public:
  struct Options {
    std::string model, replica;  // labels
    int32_t context = 0;         // tokens: the last bucket of token histograms
    int n_ranks = 0;
    bool vllm_names = false;
  };
  EngineMetrics(MetricsRegistry& registry, const Options& options);

  void ensure_tenant(int32_t tenant, const std::string& name);
  Counter& outcome(std::string_view outcome);
  void add_cost(int32_t tenant, LedgerPart part, int64_t nano);  // summed until flush_costs()
  void add_own_cost(LedgerPart part, int64_t nano);              // idle, startup: nobody's
  void flush_costs();
  void observe_first_token(int64_t ns) { time_to_first_token_.observe(seconds(ns)); }
  void observe_token_gap(int64_t ns) { inter_token_latency_.observe(seconds(ns)); }
  void flush_token_gaps() { inter_token_latency_.flush(); }
  void add_prompt_tokens(int64_t computed, int64_t recomputed, int64_t resumed);
  void observe_finish(int64_t e2e_ns, const wire::TokenUpdate& usage, int32_t n_prompt,
                      int32_t n_outputs);
  void set_gauges(const EngineGauges& gauges);
  void set_cost_per_million(const wire::LedgerReport& report);
  void set_startup(int64_t weights_ns, int64_t comm_ns);
  void set_warm_up(int64_t ns) { startup_warm_up_.set(seconds(ns)); }
  void add_stage_time(const step::StageTiming& timing, int64_t idle_ns);
  void add_expert_load(const step::ExpertLoad& load) { experts_.add(load); }
  void add_slowest(int32_t rank);
  void add_deadline_exceeded(int32_t rank, const std::string& op);

 private:
  // Makes series with the labels of this engine. Declared before the series that are made through
  // it.
  struct Maker {
    MetricsRegistry& registry;
    MetricLabels labels;
    Counter counter(const char* name, const char* help, const MetricLabels& more = {}) const;
    Gauge gauge(const char* name, const char* help, const MetricLabels& more = {}) const;
    Histogram histogram(const char* name, const char* help,
                        const std::vector<double>& bounds) const;
  };
  const Maker make_;

 public:
  Counter prompt_tokens_computed, prompt_tokens_cached, prompt_tokens_recomputed,
      prompt_tokens_resumed;
  Counter generation_tokens, prefix_queries, prefix_hits, preemptions;
  Histogram step_tokens;

 private:
  struct RankSeries {
    Counter compute, collective, wait_upstream, wait_downstream, idle, slowest, ahead, redone;
    Gauge graphs, graph_bytes;
  };
  struct TenantSeries {
    std::vector<Counter> cost;  // by LedgerPart; idle and startup are nobody's
    std::array<int64_t, kLedgerParts> pending{};
    bool touched = false;
  };

  static double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }
  RankSeries make_rank(int rank) const;

  Gauge requests_running_, requests_waiting_, kv_usage_;
  Gauge kv_blocks_total_, kv_blocks_used_, kv_blocks_cached_;
  Gauge kv_bytes_total_, kv_bytes_used_, kv_bytes_cached_;
  Histogram time_to_first_token_;
  HistogramBatch inter_token_latency_;
  Histogram time_per_output_token_, e2e_latency_, queue_time_, prefill_time_, decode_time_,
      request_prompt_tokens_, request_generation_tokens_;
  Counter idle_cost_, startup_cost_;
  Gauge prefill_realised_, prefill_floor_, decode_realised_, decode_floor_;
  Gauge startup_weights_, startup_comm_, startup_graphs_, startup_warm_up_;
  std::vector<Gauge> vllm_;  // waiting, running, kv usage; empty unless asked for
  std::vector<RankSeries> ranks_;
  ExpertMetrics experts_;
  std::map<std::string, Counter, std::less<>> outcomes_;
  std::vector<TenantSeries> tenants_;
  std::vector<int32_t> touched_;
};

}  // namespace trireme::coordinator
