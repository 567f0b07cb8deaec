#include "router/upstream/upstream.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "router/upstream/upstream_job.h"

namespace trireme::router {
namespace {

constexpr int64_t kExpiryIntervalNs = 250 * kMillisecondNs;
constexpr int64_t kCancelAgainNs = kSecondNs;

}  // namespace

Upstream::Upstream(const Clock& clock, wire::RouterEndpoint& endpoint,
                   const UpstreamOptions& options, RouterMetrics& metrics,
                   std::function<void()> wake)
    : clock_(clock),
      endpoint_(endpoint),
      options_(options),
      metrics_(metrics),
      wake_(std::move(wake)),
      random_(options.random_seed),
      next_attempt_(Random(options.router_epoch).next() >> 1) {}

Upstream::~Upstream() = default;

// ---- messages ----

Status Upstream::send(const wire::PeerId& peer, const wire::FromRouter& message) {
  Status sent = endpoint_.send(peer, message);
  wake_();
  return sent;
}

// Words that were on their way already must not be answered one by one: a cancel is said again
// after a while only.
void Upstream::tell_cancel(const wire::PeerId& peer, uint64_t attempt) {
  const int64_t now_ns = clock_.now_ns();
  const auto [it, fresh] = cancelled_.try_emplace(attempt, now_ns);
  if (!fresh && now_ns - it->second < kCancelAgainNs) return;
  it->second = now_ns;
  (void)send(peer, wire::Cancel{attempt});
}

bool Upstream::poll() {
  bool any = false;
  while (auto message = endpoint_.receive()) {
    any = true;
    receive(*message);
  }
  if (any) dispatch();
  return any;
}

void Upstream::receive(const wire::FromReplicaMessage& message) {
  if (const auto* hello = std::get_if<wire::Hello>(&message.message)) {
    return on_hello(message.peer, *hello);
  }
  Replica* replica = replicas_.find(message.peer);
  if (replica == nullptr) {
    // We are newer than this connection, or gave it up: it may come back as whoever it is.
    if (!std::holds_alternative<wire::Goodbye>(message.message)) {
      (void)send(message.peer, wire::HelloAgain{});
    }
    return;
  }
  replica->last_heard_ns = clock_.now_ns();
  if (const auto* batch = std::get_if<wire::TokenBatch>(&message.message)) {
    on_batch(*replica, *batch);
  } else if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&message.message)) {
    if (heartbeat->epoch == replica->hello.epoch) replica->load = heartbeat->load;
  } else if (const auto* ledger = std::get_if<wire::LedgerReport>(&message.message)) {
    if (ledger->epoch == replica->hello.epoch) replicas_.book(*replica, *ledger);
  } else if (const auto* goodbye = std::get_if<wire::Goodbye>(&message.message)) {
    lose(*replica, "said goodbye: " + goodbye->reason);
  }
}

std::string Upstream::refusal_of(const wire::Hello& hello) const {
  if (hello.major != wire::kProtocolMajor) {
    return fmt::format("protocol {}.{} is not {}.x", hello.major, hello.minor,
                       wire::kProtocolMajor);
  }
  if (hello.model != options_.model) {
    return fmt::format("this router serves the model \"{}\", not \"{}\"", options_.model,
                       hello.model);
  }
  if (hello.vocab != options_.vocab) {
    return fmt::format("the vocabulary of {} tokens is not the router's of {}", hello.vocab,
                       options_.vocab);
  }
  if (hello.context <= 0 || hello.block_size <= 0 || hello.max_running <= 0) {
    return "the hello has no context, block size or room for sequences";
  }
  if (replicas_.size() >= ReplicaSet::kMaxReplicas) return "there are too many replicas";
  return {};
}

void Upstream::on_hello(const wire::PeerId& peer, const wire::Hello& hello) {
  if (const std::string refusal = refusal_of(hello); !refusal.empty()) {
    log::warn("replica {} refused: {}", hello.replica, refusal);
    (void)send(peer, wire::Refused{refusal});
    return;
  }
  Replica* known = replicas_.find(peer);
  const bool same = known != nullptr && known->hello.epoch == hello.epoch &&
                    known->hello.replica == hello.replica;
  if (!same) {
    // A new life or a new connection: what the old one ran is resumed, here or elsewhere.
    if (known != nullptr) lose(*known, "announced itself anew");
    if (Replica* namesake = replicas_.find_name(hello.replica)) {
      lose(*namesake,
           namesake->hello.epoch == hello.epoch ? "connected again" : "was started again");
    }
    replicas_.add(peer, hello, clock_.now_ns());
    log::info("replica {} joined: {}, context {}, {} sequences", hello.replica, hello.plan,
              hello.context, hello.max_running);
  } else {
    known->last_heard_ns = clock_.now_ns();
  }
  (void)send(peer, wire::Welcome{options_.router_epoch, options_.router_name});
  update_gauges();
}

void Upstream::on_batch(Replica& replica, const wire::TokenBatch& batch) {
  if (batch.epoch != replica.hello.epoch) return;
  const wire::PeerId peer = replica.peer;
  for (const wire::TokenUpdate& update : batch.updates) {
    const auto it = attempts_.find(update.request);
    if (it == attempts_.end() || it->second->replica != &replica) {
      // Given up here, still running there.
      if (update.finish == wire::FinishReason::kNone) tell_cancel(peer, update.request);
      continue;
    }
    on_token_update(*it->second, replica, update);
  }
}

void Upstream::on_token_update(Job& job, Replica& replica, const wire::TokenUpdate& update) {
  const auto n_emitted = static_cast<int64_t>(job.emitted.size());
  const auto n_tokens = static_cast<int64_t>(update.tokens.size());
  const auto refuse = [&](const std::string& what) {
    log::warn("replica {}: {}", replica.hello.replica, what);
    if (update.finish == wire::FinishReason::kNone) tell_cancel(replica.peer, update.request);
    fail_attempt(job, unavailable("a replica answered wrongly"), false);
  };
  if (n_tokens > 0 && update.first_index > n_emitted) {
    return refuse(
        fmt::format("tokens {} to {} of a request are missing", n_emitted, update.first_index - 1));
  }
  if (update.first_index + n_tokens > job.spec.max_tokens) {
    return refuse("more tokens than were asked for");
  }
  for (const int32_t token : update.tokens) {
    if (token < 0 || token >= options_.vocab) return refuse("a token id outside the vocabulary");
  }
  if (update.finish == wire::FinishReason::kError ||
      update.finish == wire::FinishReason::kCancelled) {
    const Error error = update.error.value_or(unavailable("the replica gave the request up"));
    return fail_attempt(job, error, false);
  }
  const bool finished = update.finish != wire::FinishReason::kNone;
  const auto width = static_cast<size_t>(replica.hello.embedding_width);
  if (job.spec.embed && finished && (width == 0 || update.embedding.size() != width)) {
    return refuse("an embedding is missing or of a wrong width");
  }
  const int64_t n_known = std::min(n_tokens, std::max<int64_t>(0, n_emitted - update.first_index));
  deliver(job, update, static_cast<size_t>(n_known));
}

void Upstream::deliver(Job& job, const wire::TokenUpdate& update, size_t n_known) {
  JobUpdate news;
  news.tokens = std::span(update.tokens).subspan(n_known);
  if (!update.logprobs.empty()) news.logprobs = std::span(update.logprobs).subspan(n_known);
  if (!job.has_prompt_logprobs && !update.prompt_logprobs.empty()) {
    job.has_prompt_logprobs = true;
    news.prompt_logprobs = update.prompt_logprobs;
  }
  news.finish = update.finish;
  news.stop_token = update.stop_token;
  job.cost_nano_usd = std::max(job.cost_nano_usd, update.cost_nano_usd);
  if (job.emitted.empty() || job.cached_tokens == 0) {
    job.cached_tokens =
        std::min(update.cached_tokens, static_cast<int32_t>(job.spec.prompt->size()));
  }
  news.cached_tokens = job.cached_tokens;
  news.cost_nano_usd = job.past_cost_nano_usd + job.cost_nano_usd;
  news.queue_ns = update.queue_ns;
  news.prefill_ns = update.prefill_ns;
  news.decode_ns = update.decode_ns;
  news.embedding = update.embedding;
  if (!news.tokens.empty()) {
    if (!job.replica_answered) job.replica->breaker.on_success();
    job.replica_answered = true;
    if (job.emitted.empty()) job.fingerprint = job.replica->hello.model_fingerprint;
    job.tries = 0;
    job.emitted.insert(job.emitted.end(), news.tokens.begin(), news.tokens.end());
  }
  const bool finished = update.finish != wire::FinishReason::kNone;
  const bool more = job.listener->on_update(news);
  if (!finished && more) return;
  detach(job, !finished);
  erase(job);
}

// ---- loss, retry, resume ----

// The replica leaves the set; its jobs go on elsewhere, or on its next life.
void Upstream::lose(Replica& replica, const std::string& why) {
  log::warn("replica {} is out of rotation: it {} ({} requests move)", replica.hello.replica, why,
            replica.in_flight);
  std::vector<Job*> orphans;
  for (auto& [id, job] : jobs_) {
    if (job->replica == &replica) orphans.push_back(job.get());
  }
  std::sort(orphans.begin(), orphans.end(),
            [](const Job* a, const Job* b) { return a->id < b->id; });
  for (Job* job : orphans) fail_attempt(*job, unavailable("the replica was lost"), true);
  replicas_.remove(replica.peer);
  update_gauges();
}

void Upstream::fail_attempt(Job& job, const Error& error, bool replica_lost) {
  const bool busy = error.code == ErrorCode::kResourceExhausted;
  const bool retryable = busy || error.code == ErrorCode::kUnavailable ||
                         error.code == ErrorCode::kCancelled ||
                         error.code == ErrorCode::kInternal || error.code == ErrorCode::kDataLoss;
  const int64_t now_ns = clock_.now_ns();
  if (job.replica != nullptr && retryable && !busy && !replica_lost) {
    job.replica->breaker.on_failure(now_ns);
  }
  detach(job, false);
  job.past_cost_nano_usd += std::exchange(job.cost_nano_usd, 0);
  if (!retryable) return give_up(job, error);
  if (job.tries >= kMaxTries) {
    return give_up(job,
                   busy ? error : unavailable("the replicas failed on this request repeatedly"));
  }
  // A lost replica is no sign of load, and its jobs have been let in already: they move at once and
  // for free.
  if (replica_lost) return enqueue(job);
  if (!budget_.take(now_ns)) {
    return give_up(job, busy ? error : unavailable("the replicas fail; the retry budget is spent"));
  }
  job.state = Job::State::kBackingOff;
  job.ready_ns = now_ns + backoff_ns(std::max(1, job.tries), random_);
  backing_off_.emplace(std::pair(job.ready_ns, job.id), &job);
  wake_();
}

void Upstream::give_up(Job& job, const Error& error) {
  JobListener* listener = job.listener;
  erase(job);
  listener->on_error(error);
}

// Takes the job off its replica.
void Upstream::detach(Job& job, bool tell_replica) {
  if (job.replica == nullptr) return;
  if (tell_replica) tell_cancel(job.replica->peer, job.attempt);
  --job.replica->in_flight;
  CHECK_GE(job.replica->in_flight, 0);
  attempts_.erase(job.attempt);
  job.replica = nullptr;
}

void Upstream::erase(Job& job) {
  CHECK(job.replica == nullptr);
  dequeue(job);
  if (job.state == Job::State::kBackingOff) backing_off_.erase({job.ready_ns, job.id});
  jobs_.erase(job.id);
}

// ---- time ----

void Upstream::tick() {
  const int64_t now_ns = clock_.now_ns();
  while (!backing_off_.empty() && backing_off_.begin()->first.first <= now_ns) {
    Job& job = *backing_off_.begin()->second;
    backing_off_.erase(backing_off_.begin());
    enqueue(job);
  }
  if (now_ns >= next_heartbeat_ns_) {
    next_heartbeat_ns_ = now_ns + options_.heartbeat_ns;
    for (Replica* replica : replicas_.all()) {
      if (now_ns - replica->last_heard_ns > options_.replica_dead_ns) {
        lose(*replica, fmt::format("was silent for {:.1f} s",
                                   static_cast<double>(now_ns - replica->last_heard_ns) * 1e-9));
        continue;
      }
      const Status sent = send(replica->peer, wire::RouterHeartbeat{options_.router_epoch});
      // A closed connection is known at once; a full one may just be slow.
      if (!sent.ok() && sent.error().code == ErrorCode::kUnavailable) {
        lose(*replica, "closed its connection");
      }
    }
    update_gauges();
  }
  if (now_ns >= next_expiry_ns_) {
    next_expiry_ns_ = now_ns + kExpiryIntervalNs;
    expire(now_ns);
  }
  dispatch();
}

void Upstream::expire(int64_t now_ns) {
  std::erase_if(cancelled_,
                [&](const auto& entry) { return now_ns - entry.second > 2 * kCancelAgainNs; });
  std::vector<std::pair<JobId, const char*>> late;
  for (const auto& [id, job] : jobs_) {
    if (job->spec.deadline_ns != 0 && now_ns >= job->spec.deadline_ns) {
      late.emplace_back(id, "the request did not finish within its time limit");
    } else if (job->state != Job::State::kRunning && now_ns >= job->queue_deadline_ns) {
      late.emplace_back(id, "no replica could take the request within the queue's time limit");
    }
  }
  for (const auto& [id, why] : late) {
    const auto it = jobs_.find(id);
    if (it == jobs_.end()) continue;
    detach(*it->second, true);
    give_up(*it->second, deadline_exceeded(why));
  }
}

int64_t Upstream::next_wake_ns() const {
  int64_t next = next_heartbeat_ns_;
  if (!jobs_.empty()) next = std::min(next, next_expiry_ns_);
  if (!backing_off_.empty()) next = std::min(next, backing_off_.begin()->first.first);
  return next;
}

// ---- what others see ----

int Upstream::n_ready_replicas() const {
  const int64_t now_ns = clock_.now_ns();
  int n = 0;
  for (const Replica* replica : replicas_.all()) {
    if (!replica->load.draining && replica->breaker.allows(now_ns)) ++n;
  }
  return n;
}

int32_t Upstream::replicas_context() const {
  int32_t context = 0;
  for (const Replica* replica : replicas_.all()) {
    context = context == 0 ? replica->hello.context : std::min(context, replica->hello.context);
  }
  return context;
}

void Upstream::update_gauges() {
  int ready = 0;
  int draining = 0;
  int broken = 0;
  const int64_t now_ns = clock_.now_ns();
  for (const Replica* replica : replicas_.all()) {
    if (replica->load.draining) {
      ++draining;
    } else if (!replica->breaker.allows(now_ns)) {
      ++broken;
    } else {
      ++ready;
    }
  }
  metrics_.set_replicas(ready, draining, broken);
  metrics_.set_running_waiting(n_jobs() - n_queued(), n_queued());
  metrics_.queue_requests.set(static_cast<double>(n_queued()));
  metrics_.queue_tokens.set(static_cast<double>(queued_tokens_));
}

}  // namespace trireme::router
