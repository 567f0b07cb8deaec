// Upstream's queue: from start() to Submit.
#include <fmt/format.h>

#include <limits>

#include "base/log.h"
#include "router/upstream/upstream.h"
#include "router/upstream/upstream_job.h"

namespace trireme::router {

Status Upstream::check_room(int64_t n_jobs, int64_t prompt_tokens) const {
  if (n_queued() + n_jobs > options_.queue_requests) {
    return resource_exhausted(
        fmt::format("the queue is full: {} requests wait for a replica", n_queued()));
  }
  if (n_queued() > 0 && queued_tokens_ + prompt_tokens > options_.queue_tokens) {
    return resource_exhausted(
        fmt::format("the queue is full: {} prompt tokens wait for a replica", queued_tokens_));
  }
  return {};
}

JobId Upstream::start(JobSpec spec, JobListener* listener) {
  CHECK(listener != nullptr && spec.prompt != nullptr && !spec.prompt->empty());
  auto owned = std::make_unique<Job>();
  Job& job = *owned;
  job.id = next_job_++;
  job.spec = std::move(spec);
  job.listener = listener;
  job.queued_ns = clock_.now_ns();
  jobs_.emplace(job.id, std::move(owned));
  budget_.on_request(job.queued_ns);
  const JobId id = job.id;
  enqueue(job);
  dispatch();
  return id;
}

void Upstream::cancel(JobId id) {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return;
  detach(*it->second, true);
  erase(*it->second);
  dispatch();
}

void Upstream::enqueue(Job& job) {
  CHECK(job.state != Job::State::kQueued);
  // A retry keeps its first deadline; each resume gets a fresh one, since its replica may have to
  // start anew.
  if (job.queue_deadline_ns == 0 || job.state == Job::State::kRunning) {
    job.queue_deadline_ns = clock_.now_ns() + options_.queue_timeout_ns;
  }
  job.state = Job::State::kQueued;
  // A stream that has begun goes before all that have not.
  const int64_t priority =
      job.emitted.empty() ? int64_t{job.spec.priority} : std::numeric_limits<int64_t>::min();
  job.queue_key = {priority, job.id};
  job.queue_tokens = static_cast<int64_t>(job.spec.prompt->size());
  queued_tokens_ += job.queue_tokens;
  queue_.emplace(job.queue_key, &job);
}

void Upstream::dequeue(Job& job) {
  if (job.state != Job::State::kQueued) return;
  queue_.erase(job.queue_key);
  queued_tokens_ -= job.queue_tokens;
}

void Upstream::dispatch() {
  if (dispatching_ || queue_.empty()) return;  // a failed send may come back here
  dispatching_ = true;
  bool placed = true;
  while (placed) {
    placed = false;
    for (auto it = queue_.begin(); it != queue_.end(); ++it) {
      Job& job = *it->second;
      if (try_place(job)) {
        placed = true;  // the queue has changed under the iterator
        break;
      }
      // One that may go anywhere and found no room: those behind it will not either.
      if (job.fingerprint.empty()) break;
    }
  }
  dispatching_ = false;
}

std::string Upstream::why_not_usable(const Replica& replica, const Job& job) const {
  if (replica.load.draining) return "draining";
  if (!replica.breaker.allows(clock_.now_ns())) return "breaker open";
  if (!replica.has_room()) return "full";
  if (!job.fingerprint.empty() && replica.hello.model_fingerprint != job.fingerprint) {
    return "other weights or plan";
  }
  if (static_cast<int64_t>(job.spec.prompt->size()) > replica.hello.context)
    return "context too small";
  return {};
}

bool Upstream::try_place(Job& job) {
  const std::vector<Replica*> replicas = replicas_.all();
  if (replicas.empty()) return false;
  std::vector<ReplicaSnapshot> snapshot(replicas.size());
  for (size_t i = 0; i < replicas.size(); ++i) {
    const Replica& replica = *replicas[i];
    ReplicaSnapshot& view = snapshot[i];
    view.why_not = why_not_usable(replica, job);
    view.usable = view.why_not.empty();
    view.load = replica.load_requests();
    if (job.hashed_block_size != replica.hello.block_size) {
      job.hashed_block_size = replica.hello.block_size;
      job.hashes = block_hashes(*job.spec.prompt, job.hashed_block_size, job.spec.cache_salt);
    }
    view.matched_tokens = replica.prefix.n_matched(job.hashes) * replica.hello.block_size;
  }
  const auto n_prompt = static_cast<int64_t>(job.spec.prompt->size());
  const BalanceResult result =
      choose_replica(snapshot, n_prompt, options_.balance_load_weight, random_);
  if (result.chosen < 0) return false;
  Replica& chosen = *replicas[static_cast<size_t>(result.chosen)];
  ExplainRecord record;
  record.trace = job.spec.trace;
  record.job = job.id;
  record.unix_ns = clock_.unix_ns();
  record.reason = !job.emitted.empty() ? "resume" : job.n_attempts > 0 ? "retry" : "first";
  record.chosen = chosen.hello.replica;
  record.prompt_tokens = n_prompt;
  record.emitted_tokens = static_cast<int64_t>(job.emitted.size());
  record.waited_ns = clock_.now_ns() - job.queued_ns;
  for (size_t i = 0; i < replicas.size(); ++i) {
    record.candidates.push_back({replicas[i]->hello.replica, snapshot[i].usable,
                                 snapshot[i].why_not, snapshot[i].load, snapshot[i].matched_tokens,
                                 result.scores[i]});
  }
  explain_.add(std::move(record));
  submit(job, chosen);
  return true;
}

void Upstream::submit(Job& job, Replica& replica) {
  dequeue(job);
  job.state = Job::State::kRunning;
  job.replica = &replica;
  job.attempt = next_attempt_++;
  job.replica_answered = false;
  ++job.tries;
  if (++job.n_attempts > 1) (job.emitted.empty() ? metrics_.retries : metrics_.resumes).add();
  ++replica.in_flight;
  attempts_.emplace(job.attempt, &job);
  replica.breaker.on_probe(clock_.now_ns());

  wire::Submit message;
  message.request = job.attempt;
  message.trace = job.spec.trace;
  message.tenant = job.spec.tenant;
  message.tokens = *job.spec.prompt;
  message.tokens.insert(message.tokens.end(), job.emitted.begin(), job.emitted.end());
  message.n_prompt = static_cast<int32_t>(job.spec.prompt->size());
  message.max_tokens = job.spec.max_tokens;
  message.stop_token_ids = job.spec.stop_token_ids;
  message.sampling = job.spec.sampling;
  if (job.has_prompt_logprobs) message.sampling.n_prompt_logprobs = -1;
  message.priority = job.spec.priority;
  if (job.spec.deadline_ns != 0) {
    message.deadline_unix_ns = clock_.unix_ns() + (job.spec.deadline_ns - clock_.now_ns());
  }
  message.cache_salt = job.spec.cache_salt;
  message.resumed = !job.emitted.empty();
  message.continuous_usage = job.spec.continuous_usage;
  message.embed = job.spec.embed;
  const Status sent = send(replica.peer, message);
  if (sent.ok()) {
    replica.prefix.insert(job.hashes);
    return;
  }
  if (sent.error().code == ErrorCode::kUnavailable) {
    lose(replica, "closed its connection");
  } else {
    fail_attempt(job, sent.error(), false);
  }
}

}  // namespace trireme::router
