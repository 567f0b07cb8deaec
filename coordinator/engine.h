// The inside of Coordinator: all state of a replica, changed by one thread.
//
// engine_startup.cc: until the ranks are ready.  engine_submit.cc: requests come and go.
// engine_plan.cc: a snapshot, a decision, a plan sent.  engine_apply.cc: a result applied.
// engine.cc: events, deadlines, the tick.  coordinator.h says what it promises; this header is for
// those files only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "coordinator/coordinator.h"
#include "coordinator/engine_metrics.h"
#include "coordinator/kv/block_hash.h"
#include "coordinator/kv/block_pool.h"
#include "coordinator/kv/kv_budget.h"
#include "coordinator/kv/sequence_blocks.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/request/request.h"
#include "coordinator/request/tenants.h"
#include "coordinator/request/validate.h"
#include "coordinator/schedule/schedule.h"

namespace trireme::coordinator {

class Engine {
 public:
  Engine(const CoordinatorOptions& options, const Clock& clock, step::CoordinatorLink& link,
         RouterSink& sink, MetricsRegistry& metrics);
  ~Engine();

  void submit(RouterId router, wire::Submit submit);
  void cancel(RouterId router, uint64_t id);
  void router_epoch(RouterId router, uint64_t epoch);
  void router_lost(RouterId router);
  Status on_rank_event(step::RankEvent event);
  Status tick(int64_t now_ns);
  int64_t next_tick_ns() const;
  void drain() { draining_ = true; }
  bool drained() const { return draining_ && n_requests_ == 0; }
  bool ready() const { return pool_ != nullptr && !warm_up_; }
  int64_t n_kv_blocks() const { return limits_.n_kv_blocks; }
  const SubmitLimits& limits() const { return limits_; }
  int64_t n_steps() const { return static_cast<int64_t>(last_step_); }
  wire::Load load() const;
  wire::LedgerReport ledger() const;

 private:
  // What of a span is needed again when its result comes, without a look at its request.
  struct InFlightSpan {
    uint32_t slot = 0;
    int32_t tenant = 0;
    SequenceId sequence;
    int32_t first_position = 0;
    int32_t n_tokens = 0;
    int32_t n_logprob_positions = 0;
    bool sample = false;
    bool embed = false;
    bool sample_logprobs = false;  // wanted with the sample
    uint8_t n_work = 0;            // of the step's `work`
  };
  struct InFlightStep {
    step::StepHeader header;
    int64_t sent_ns = 0;
    std::vector<InFlightSpan> spans;
    std::vector<Work> work;  // of the spans, in their order
    // Prompt tokens by what they are booked under.
    int64_t n_prompt = 0, n_recomputed = 0, n_resumed = 0;
  };
  // Which ranks told their timings of a step: the slowest is named when all have, the missing ones
  // when it is late.
  struct StepReports {
    std::vector<bool> seen;
    int n_seen = 0;
    int32_t slowest_rank = 0;
    int64_t slowest_compute_ns = -1;
  };

  // The made-up sequence that is computed once before the first request.
  struct WarmUp {
    step::StepHeader header;
    SequenceId sequence;
    SequenceBlocks blocks;
    int64_t sent_ns = 0;
  };

  // engine_startup.cc
  Status on_ready(const step::RankReady& ready);
  Status begin_warm_up(int64_t now_ns);
  Status end_warm_up(const step::StepResult& result);

  // engine_submit.cc
  RouterState& router_state(RouterId router);
  Status admissible(const wire::Submit& submit) const;
  void refuse(RouterState& router, const wire::Submit& submit, const Error& error);
  std::unique_ptr<Request> make_request(RouterState& router, wire::Submit submit, int64_t now_ns);
  uint32_t take_slot(std::unique_ptr<Request> request);
  void enqueue(uint32_t slot);
  void make_long(Request& r);
  BlockHash own_root(const BlockHash& root, int32_t key_class) const;
  void extend_hashes(Request& request, int32_t n_tokens);
  void end(uint32_t slot, Finish finish, int64_t now_ns);
  void finish(uint32_t slot, Finish finish, int64_t now_ns, wire::TokenUpdate update = {});
  void leave_running(Request& request);
  void leave_ranks(Request& request);
  void fill_usage(const Request& request, int64_t now_ns, wire::TokenUpdate& update) const;
  void cancel_all(RouterState& router, int64_t now_ns);
  void count_outcome(const Request& request, const Finish& finish, int64_t now_ns);

  // engine_plan.cc
  Status send_plans(int64_t now_ns);
  void plan_ahead();
  Decision decide();
  Snapshot snapshot(StepId assume_done);
  WaitingCandidate probe(uint32_t slot) const;
  PrefixHit find_cached(const Request& request) const;
  void preempt(uint32_t slot);
  Status commit(const Decision& decision, int64_t now_ns);
  void admit(uint32_t slot, step::StepPlan& plan);
  void add_span(uint32_t slot, int32_t n_tokens, step::StepPlan& plan, InFlightStep& in_flight);
  uint8_t add_work(const Request& request, int32_t first_position, int32_t n_tokens,
                   InFlightStep& in_flight) const;

  // engine_apply.cc
  Status apply(step::StepResult result);
  Status check_result(const InFlightStep& step, const step::StepResult& result) const;
  void book_costs(InFlightStep& step, int64_t now_ns);
  void advance(const InFlightSpan& span, step::SequenceOutput* output, int64_t now_ns);
  void take_token(uint32_t slot, step::SequenceOutput& output, int64_t now_ns);
  void settle_blocks(Request& request, RunningSequence& running);
  void collect_prompt_logprobs(Request& request, step::SequenceOutput& output);

  // engine.cc
  Status fail(Error error);
  void on_timings(const step::StepTimings& timings);
  Status on_failure(const step::RankFailure& failure);
  Status check_step_deadline(int64_t now_ns);
  int64_t step_due_ns() const;
  void expire_requests(int64_t now_ns);
  void flush_updates();
  void update_gauges(int64_t now_ns);

  // Requests lie all over the memory, and a step touches each running one once or twice: what the
  // loops need kAhead rounds later is fetched while they work.
  static constexpr size_t kAhead = 32;
  void fetch_ahead(uint32_t slot) const {
    const auto* lines = reinterpret_cast<const char*>(slots_[slot].get());
    if (lines == nullptr) return;
    for (size_t byte = 0; byte < kRequestHotBytes; byte += 64) __builtin_prefetch(lines + byte, 1);
  }

  Request& request(uint32_t slot) { return *slots_[slot]; }
  const Request& request(uint32_t slot) const { return *slots_[slot]; }
  // Steps that may be unfinished.
  size_t most_in_flight() const {
    return static_cast<size_t>(options_.pp) + (options_.run_ahead ? 1 : 0);
  }
  // False: its request ended with the step before, and this row was computed for nobody.
  bool wanted(const InFlightSpan& span) const {
    const auto& r = slots_[span.slot];
    return r != nullptr && r->sequence == span.sequence;
  }
  int32_t n_resident() const { return static_cast<int32_t>(running_.size()) + n_ending_; }

  const CoordinatorOptions options_;
  const SchedulerConfig& config_;  // options_.scheduler
  const KvBudget budget_;
  const Clock& clock_;
  step::CoordinatorLink& link_;
  RouterSink& sink_;
  SubmitLimits limits_;
  Ledger ledger_;
  BlockHasher hasher_;
  TenantTable tenants_;
  EngineMetrics metrics_;

  // The pool is declared before the requests and the warm-up, whose tables give their blocks back
  // to it.
  std::unique_ptr<BlockPool> pool_;  // null until every rank is ready
  std::map<RouterId, RouterState> routers_;
  std::vector<std::unique_ptr<Request>> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<RunningSequence> running_;
  int32_t n_ending_ = 0;
  int64_t n_requests_ = 0;
  std::set<std::pair<int64_t, uint32_t>> deadlines_;  // (monotonic ns, slot)
  uint64_t last_arrival_ = 0;
  uint64_t last_sequence_ = 0;
  bool draining_ = false;

  std::deque<InFlightStep> in_flight_;  // oldest first; results come in this order
  std::optional<Decision> ahead_;       // as if in_flight_.front() were done
  std::vector<SequenceId> releases_;    // for the next plan
  uint64_t last_step_ = 0;
  int64_t last_result_ns_ = 0;
  std::map<uint64_t, StepReports> reports_;
  std::optional<WarmUp> warm_up_;
  std::optional<Error> fatal_;

  std::vector<std::optional<step::RankReady>> ready_ranks_;
  std::vector<int64_t> rank_reported_ns_;  // when each rank last told its timings
  int64_t gauges_ns_ = 0;

  int64_t n_prompt_tokens_ = 0, n_cached_tokens_ = 0, n_generated_tokens_ = 0;

  // Scratch of one call, kept for its memory.
  std::vector<WaitingCandidate> candidates_;
  std::vector<int64_t> costs_;
  InFlightStep spare_step_;
  step::RankCommand plan_{step::StepPlan()};
};

}  // namespace trireme::coordinator
