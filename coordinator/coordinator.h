// The coordinator of one replica: requests, KV blocks (as ids), the schedule and the cost ledger.
// Token ids in, token ids out.
//
// It is not a thread, a socket or a loop: one thread owns it, calls it, and it calls out through
// step::CoordinatorLink (plans to the ranks) and RouterSink (tokens to the routers). The owner's
// loop is
//
//   wait for the ranks' link, the routers' endpoints, or until next_tick_ns()
//   hand in what came: submit(), cancel(), on_rank_event() ...
//   tick(clock.now_ns())       a failed Status here or from on_rank_event ends the process: the
//   replica is lost
//
// Steps. Up to pp plans are in flight, and a sequence is in at most one of them. tick() sends a
// plan for every free place, then publishes, one TokenBatch per router, then plans ahead: while all
// places are taken, the next plan is made as if the oldest step in flight were done and each of its
// sequences had advanced. When that step's result has been applied, the plan is sent at once,
// without the sequences that ended or were cancelled meanwhile, and with the tokens that were
// sampled. A plan ahead never preempts and never takes a block that is not free now; when it would
// have to, or when a request arrives that it does not know, it is thrown away and the plan is made
// afresh.
//
// Running ahead (run_ahead; one stage that samples and computes). The ranks know a sampled token
// before the coordinator does: the next plan is sent behind the step in flight, made as if that one
// were done, and says "the token that you sampled". So the ranks find it waiting, and the way of a
// result here and of a plan back costs them nothing. Where a sequence met a stop token, its row in
// the step behind was computed for nobody: the request does not pay for it, and its finish does not
// wait for it.
//
// Endings. A request that ends while a step in flight computes it (cancelled, expired) leaves the
// schedule at once; its blocks are freed, and its finish is published with the complete cost, when
// that step's result comes.
//
// Money: coordinator/ledger/ledger.h. A request's cost is the prefill and decode booked to it;
// recompute after preemption and the re-prefill of a resumed request are the replica's own lines.
// What holds is in INVARIANTS.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "base/metrics.h"
#include "base/result.h"
#include "coordinator/request/request.h"
#include "coordinator/request/tenants.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/plan/rope_growth.h"
#include "parallel/step/step_link.h"
#include "parallel/wire/messages.h"

namespace trireme::coordinator {

struct CoordinatorOptions {
  SchedulerConfig scheduler;
  PriceConfig price;
  std::string replica;  // metric labels
  std::string model;
  uint64_t epoch = 0;
  int32_t pp = 1;                // pipeline stages: steps in flight
  bool run_ahead = false;        // with pp 1: one step more is in flight
  int32_t vocab = 0;             // tokens
  int32_t context = 0;           // tokens, the model's
  int32_t recompute_length = 0;  // known tokens behind which a sequence starts again; 0: never
  plan::RopeGrowth rope_growth;  // which prompts have keys of their own
  // The block tables of a sequence (KvLayout::groups), those that see everything first.
  std::vector<plan::KvGroup> kv_groups = {plan::KvGroup()};
  // Of an encoder's vectors; 0: the model makes tokens. An encoder's prompts are computed whole, so
  // that `context` is at most scheduler.max_step_tokens, and they share no prefixes.
  int32_t embedding_width = 0;
  int64_t kv_bytes_per_block = 0;  // on all ranks together, for the metrics
  int64_t started_ns =
      0;  // monotonic, of the process's start: the ledger begins here; 0: construction
  std::vector<TenantOptions> tenants;
  int32_t max_tenants = 64;  // beyond: "other"
  // One step of a made-up sequence before ready(): what is slow only once is paid at start-up, and
  // a replica that is ready has produced a token.
  bool warm_up = false;
  bool vllm_metric_names = false;
};

// invalid_argument names the option that cannot be: check before constructing a Coordinator.
Status validate(const CoordinatorOptions& options);

class RouterSink {
 public:
  virtual ~RouterSink() = default;
  // At most one batch per router and tick. Never blocks. The batch is lent: its updates may be
  // taken; what is left is cleared, and its memory used for the next one.
  virtual void publish(RouterId router, wire::TokenBatch& batch) = 0;
};

class Engine;

class Coordinator {
 public:
  // The references outlive the coordinator.
  Coordinator(const CoordinatorOptions& options, const Clock& clock, step::CoordinatorLink& link,
              RouterSink& sink, MetricsRegistry& metrics);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // From routers. A request that cannot be taken is answered by an update with
  // FinishReason::kError.
  void submit(RouterId router, wire::Submit submit);
  void cancel(RouterId router,
              const wire::Cancel& cancel);  // unknown ids are ignored: it may have finished
  // Welcome and RouterHeartbeat say it: requests of an older epoch of this router are cancelled,
  // silently.
  void router_epoch(RouterId router, uint64_t epoch);
  // Heartbeats stopped: its requests are cancelled, silently.
  void router_lost(RouterId router);

  // From the ranks. When the last one is ready, the KV pool is made and SetKvBlocks sent, and the
  // warm-up step behind it.
  Status on_rank_event(step::RankEvent event);

  // Expires, plans, sends, publishes. Call after every batch of the above, and at next_tick_ns() at
  // the latest.
  Status tick(int64_t now_ns);
  int64_t next_tick_ns() const;  // monotonic; INT64_MAX: only an event makes work

  // Takes nothing new from now on (unavailable), finishes what it has.
  void drain();
  bool drained() const;  // draining, and nothing is left

  bool ready() const;           // the ranks are, and warm
  int64_t n_kv_blocks() const;  // 0 until ready
  // Tokens that one sequence may have: the model's context, or the pool's where that is smaller.
  // For the Hello.
  int32_t context() const;
  int64_t n_steps() const;  // sent so far
  wire::Load load() const;
  wire::LedgerReport ledger()
      const;  // up to the last booking: the last step's result, or the last idle tick

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace trireme::coordinator
