// The router's series, looked up once at start-up. Names and buckets: conventions section 2.
//
// Handles are thread-safe; the bounded label sets (outcomes, tenants) are looked up as they first
// occur, by the loop's thread alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/metrics.h"

namespace trireme::router {

class RouterMetrics {
 public:
  RouterMetrics(MetricsRegistry& registry, const std::string& model, int64_t context,
                bool vllm_names);

  void count_outcome(const std::string& outcome);         // requests_total
  void count_http(const std::string& route, int status);  // router_requests_total
  void count_rejected(const std::string& reason);         // router_rejected_total
  void set_replicas(int ready, int draining, int broken);
  void set_running_waiting(int64_t running, int64_t waiting);
  void count_tenant(const std::string& tenant, int64_t prompt_tokens, int64_t cached_tokens,
                    int64_t output_tokens, int64_t cost_nano_usd);

  Counter retries, resumes, slow_readers, stream_errors, rejected_frames;
  Counter generation_tokens, prompt_tokens_computed, prompt_tokens_cached;
  Gauge connections, queue_requests, queue_tokens;
  Histogram ttft, itl, tpot, e2e, queue_time, prefill_time, decode_time;
  Histogram prompt_tokens, output_tokens, overhead;

 private:
  struct Tenant {
    Counter prompt, cached, output, cost;
  };
  MetricsRegistry& registry_;
  MetricLabels model_label_;
  std::map<std::string, Counter> outcomes_, http_, rejected_;
  std::map<std::string, Tenant> tenants_;
  Gauge replicas_ready_, replicas_draining_, replicas_broken_, running_, waiting_;
  std::vector<Gauge> vllm_;  // running, waiting; empty when the option is off
};

}  // namespace trireme::router
