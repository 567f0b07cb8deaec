// Upstream: jobs, the replicas that run them, and what happens to the first when the second die.
//
//   start -> queued -> running -> finished                      (one replica, the usual way)
//              ^          | error or loss before the first token: retry, with backoff, budget and
//              breaker
//              `----------' loss after it: resume, the prompt and the emitted ids handed to an
//              equal replica
//
// Every attempt has a wire id of its own, so that late words of a replica that was given up are
// recognised and answered with Cancel. Updates are placed by first_index: what is known already is
// dropped, a gap is a loss. So a listener gets every token once, in order. Nothing waits for ever:
// the queue has a time limit, a job a deadline.
//
// Belongs to one thread; the clock is handed in. Sending may leave the endpoint with messages to
// read (its fd is edge-triggered): `wake` asks the owner to call poll() soon.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "parallel/wire/endpoints.h"
#include "router/balance/balance.h"
#include "router/router_metrics.h"
#include "router/upstream/explain.h"
#include "router/upstream/job.h"
#include "router/upstream/replicas.h"
#include "router/upstream/retry.h"

namespace trireme::router {

struct UpstreamOptions {
  std::string router_name;
  uint64_t router_epoch = 0;
  std::string model;  // served name that a hello must carry
  int32_t vocab = 0;  // that a hello must carry
  int64_t heartbeat_ns = 500 * kMillisecondNs;
  int64_t replica_dead_ns = 5 * kSecondNs;
  int64_t queue_timeout_ns = 60 * kSecondNs;
  int32_t queue_requests = 4096;
  int64_t queue_tokens = 16 << 20;
  double balance_load_weight = 0.5;
  uint64_t random_seed = 0;
};

class Upstream {
 public:
  Upstream(const Clock& clock, wire::RouterEndpoint& endpoint, const UpstreamOptions& options,
           RouterMetrics& metrics, std::function<void()> wake);
  ~Upstream();

  // Whether `n_jobs` more with so many prompt tokens in all may queue: resource_exhausted where
  // not.
  Status check_room(int64_t n_jobs, int64_t prompt_tokens) const;
  // Queues the job and sends it as soon as a replica has room. The listener must outlive the job,
  // or cancel() it.
  JobId start(JobSpec spec, JobListener* listener);
  // The client is gone: the replica is told, the listener hears nothing more. Unknown ids are
  // ignored.
  void cancel(JobId job);

  // Takes all messages that have arrived. Returns whether there were any.
  bool poll();
  // Heartbeats, deadlines, retries. Call at next_wake_ns() or soon after.
  void tick();
  int64_t next_wake_ns() const;

  int n_ready_replicas() const;
  int64_t n_jobs() const { return static_cast<int64_t>(jobs_.size()); }
  int64_t n_queued() const { return static_cast<int64_t>(queue_.size()); }
  // The smallest context that a known replica serves; 0 where none is known.
  int32_t replicas_context() const;
  const ReplicaSet& replicas() const { return replicas_; }
  const ExplainLog& explain() const { return explain_; }

 private:
  struct Job;
  using QueueKey = std::pair<int64_t, uint64_t>;  // priority (resumed jobs below all), order

  void receive(const wire::FromReplicaMessage& message);
  void on_hello(const wire::PeerId& peer, const wire::Hello& hello);
  std::string refusal_of(const wire::Hello& hello) const;
  void on_batch(Replica& replica, const wire::TokenBatch& batch);
  void on_token_update(Job& job, Replica& replica, const wire::TokenUpdate& update);
  void deliver(Job& job, const wire::TokenUpdate& update, size_t n_known);
  void lose(Replica& replica, const std::string& why);
  void fail_attempt(Job& job, const Error& error, bool replica_lost);
  void give_up(Job& job, const Error& error);
  void detach(Job& job, bool tell_replica);
  void erase(Job& job);

  void enqueue(Job& job);
  void dequeue(Job& job);
  void dispatch();
  bool try_place(Job& job);  // false: no replica has room
  std::string why_not_usable(const Replica& replica, const Job& job) const;
  void submit(Job& job, Replica& replica);
  void tell_cancel(const wire::PeerId& peer, uint64_t attempt);
  Status send(const wire::PeerId& peer, const wire::FromRouter& message);
  void expire(int64_t now_ns);
  void update_gauges();

  const Clock& clock_;
  wire::RouterEndpoint& endpoint_;
  UpstreamOptions options_;
  RouterMetrics& metrics_;
  std::function<void()> wake_;
  Random random_;
  ReplicaSet replicas_;
  ExplainLog explain_;
  RetryBudget budget_;
  std::unordered_map<JobId, std::unique_ptr<Job>> jobs_;
  std::unordered_map<uint64_t, Job*> attempts_;      // by wire id
  std::unordered_map<uint64_t, int64_t> cancelled_;  // wire ids told to stop lately, and when
  std::map<QueueKey, Job*> queue_;
  std::map<std::pair<int64_t, JobId>, Job*> backing_off_;  // by the time of the next try
  int64_t queued_tokens_ = 0;
  JobId next_job_ = 1;
  // Begins anywhere: what a replica still says to an earlier router must not hit an id of ours.
  uint64_t next_attempt_;
  int64_t next_heartbeat_ns_ = 0;
  int64_t next_expiry_ns_ = 0;
  bool dispatching_ = false;
};

}  // namespace trireme::router
