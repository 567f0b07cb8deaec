#include "router/router_metrics.h"

namespace trireme::router {

RouterMetrics::RouterMetrics(MetricsRegistry& r, const std::string& model, int64_t context,
                             bool vllm_names)
    : retries(r.counter("router_retries_total", "Submits tried again before the first token")),
      resumes(r.counter("router_resumes_total", "Streams handed to another replica after a token")),
      slow_readers(
          r.counter("router_slow_readers_total", "Streams dropped because of unread bytes")),
      stream_errors(
          r.counter("router_stream_errors_total", "Streams that ended in an error event")),
      rejected_frames(r.counter("router_rejected_frames_total", "Wire frames that were refused")),
      generation_tokens(r.counter("router_generation_tokens_total", "Tokens sent to clients",
                                  {{"model", model}})),
      prompt_tokens_computed(r.counter("router_prompt_tokens_total", "Prompt tokens of requests",
                                       {{"model", model}, {"source", "computed"}})),
      prompt_tokens_cached(r.counter("router_prompt_tokens_total", "Prompt tokens of requests",
                                     {{"model", model}, {"source", "cached"}})),
      connections(r.gauge("router_connections", "Open client connections")),
      queue_requests(r.gauge("router_queue_requests", "Sequences that wait for a replica")),
      queue_tokens(r.gauge("router_queue_tokens", "Prompt tokens that wait for a replica")),
      ttft(r.histogram("time_to_first_token_seconds", "From request to first token",
                       buckets::time_to_first_token(), {{"model", model}})),
      itl(r.histogram("inter_token_latency_seconds", "Between two tokens of a stream",
                      buckets::inter_token_latency(), {{"model", model}})),
      tpot(r.histogram("time_per_output_token_seconds", "(E2E - TTFT) / (tokens - 1)",
                       buckets::inter_token_latency(), {{"model", model}})),
      e2e(r.histogram("e2e_request_latency_seconds", "From request to last token",
                      buckets::request_latency(), {{"model", model}})),
      queue_time(r.histogram("request_queue_time_seconds", "Waiting, at the router and the replica",
                             buckets::request_latency(), {{"model", model}})),
      prefill_time(r.histogram("request_prefill_time_seconds", "Prefill, as the replica says",
                               buckets::request_latency(), {{"model", model}})),
      decode_time(r.histogram("request_decode_time_seconds", "Decode, as the replica says",
                              buckets::request_latency(), {{"model", model}})),
      prompt_tokens(r.histogram("request_prompt_tokens", "Prompt tokens per request",
                                buckets::tokens_up_to(context), {{"model", model}})),
      output_tokens(r.histogram("request_generation_tokens", "Output tokens per request",
                                buckets::tokens_up_to(context), {{"model", model}})),
      overhead(r.histogram("router_overhead_seconds", "From the request's last byte to its Submit",
                           {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1})),
      registry_(r),
      model_label_{{"model", model}},
      replicas_ready_(r.gauge("router_replicas", "Replicas by state", {{"state", "ready"}})),
      replicas_draining_(r.gauge("router_replicas", "Replicas by state", {{"state", "draining"}})),
      replicas_broken_(r.gauge("router_replicas", "Replicas by state", {{"state", "broken"}})),
      running_(r.gauge("requests_running", "Sequences on a replica", {{"model", model}})),
      waiting_(r.gauge("requests_waiting", "Sequences in the router's queue", {{"model", model}})) {
  if (vllm_names) {
    const MetricLabels labels = {{"model_name", model}, {"engine", "router"}};
    vllm_.push_back(r.foreign_gauge("vllm:num_requests_running", "Sequences on a replica", labels));
    vllm_.push_back(r.foreign_gauge("vllm:num_requests_waiting", "Sequences in the queue", labels));
  }
}

void RouterMetrics::count_outcome(const std::string& outcome) {
  auto it = outcomes_.find(outcome);
  if (it == outcomes_.end()) {
    MetricLabels labels = model_label_;
    labels["outcome"] = outcome;
    it = outcomes_
             .emplace(outcome,
                      registry_.counter("requests_total", "Requests by how they ended", labels))
             .first;
  }
  it->second.add();
}

void RouterMetrics::count_http(const std::string& route, int status) {
  const std::string code = std::to_string(status);
  auto it = http_.find(route + code);
  if (it == http_.end()) {
    it = http_
             .emplace(route + code, registry_.counter("router_requests_total",
                                                      "HTTP requests by route and status",
                                                      {{"route", route}, {"code", code}}))
             .first;
  }
  it->second.add();
}

void RouterMetrics::count_rejected(const std::string& reason) {
  auto it = rejected_.find(reason);
  if (it == rejected_.end()) {
    it =
        rejected_
            .emplace(reason, registry_.counter("router_rejected_total",
                                               "Requests refused by a limit", {{"reason", reason}}))
            .first;
  }
  it->second.add();
}

void RouterMetrics::count_tenant(const std::string& tenant, int64_t prompt, int64_t cached,
                                 int64_t output, int64_t cost_nano_usd) {
  auto it = tenants_.find(tenant);
  if (it == tenants_.end()) {
    const auto tokens = [&](const char* kind) {
      return registry_.counter("router_tenant_tokens_total", "Tokens by tenant",
                               {{"tenant", tenant}, {"kind", kind}});
    };
    it = tenants_
             .emplace(tenant, Tenant{tokens("prompt"), tokens("cached"), tokens("output"),
                                     registry_.counter("router_tenant_cost_usd_total",
                                                       "Cost of answered requests by tenant",
                                                       {{"tenant", tenant}})})
             .first;
  }
  it->second.prompt.add(static_cast<double>(prompt));
  it->second.cached.add(static_cast<double>(cached));
  it->second.output.add(static_cast<double>(output));
  it->second.cost.add(static_cast<double>(cost_nano_usd) * 1e-9);
}

void RouterMetrics::set_replicas(int ready, int draining, int broken) {
  replicas_ready_.set(ready);
  replicas_draining_.set(draining);
  replicas_broken_.set(broken);
}

void RouterMetrics::set_running_waiting(int64_t running, int64_t waiting) {
  running_.set(static_cast<double>(running));
  waiting_.set(static_cast<double>(waiting));
  if (vllm_.empty()) return;
  vllm_[0].set(static_cast<double>(running));
  vllm_[1].set(static_cast<double>(waiting));
}

}  // namespace trireme::router
