// Serving: what the handlers of one router share. Owned by Router; belongs to the loop's thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "router/admit/keys.h"
#include "router/admit/rate_limit.h"
#include "router/api/served_model.h"
#include "router/http/event_loop.h"
#include "router/router_metrics.h"
#include "router/upstream/upstream.h"
#include "router/work_pool.h"

namespace trireme::router {

class GenerationCall;

struct TenantUsage {
  int64_t requests = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cost_nano_usd = 0;
};

struct Serving {
  Serving(const Clock& c, EventLoop& l, const ClusterConfig& cfg, const ServedModel& m,
          RouterMetrics& r, KeyTable k, uint64_t seed)
      : clock(c),
        loop(l),
        config(cfg),
        model(m),
        metrics(r),
        keys(std::move(k)),
        random(seed),
        limiter(cfg.router.count) {}

  const Clock& clock;
  EventLoop& loop;
  const ClusterConfig& config;
  const ServedModel& model;
  RouterMetrics& metrics;
  KeyTable keys;
  Random random;
  RateLimiter limiter;
  std::unique_ptr<Upstream> upstream;
  std::unique_ptr<WorkPool> pool;
  KeyConfig anonymous{.name = "anonymous"};  // the tenant of a router without keys

  std::map<std::string, TenantUsage> usage;  // by tenant; bounded by the keys
  std::map<std::string, int64_t> streams;    // open requests by tenant
  std::unordered_map<GenerationCall*, std::shared_ptr<GenerationCall>> calls;
  std::vector<std::shared_ptr<GenerationCall>> dirty;  // have something to write
  int64_t now_ns = 0;                                  // of the event batch that is being handled
  int64_t started_unix_ns = 0;
  bool draining = false;
  bool in_batch = false;  // flush_dirty() follows anyway
  bool flush_posted = false;
  bool poll_posted = false;

  // The smaller of the model's context and what the replicas serve.
  int32_t context() const;
  // The call has bytes to write or has ended: flush_dirty() runs after the current batch.
  void mark_dirty(GenerationCall* call);
  void flush_dirty();
};

}  // namespace trireme::router
