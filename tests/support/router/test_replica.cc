#include "tests/support/router/test_replica.h"

#include <poll.h>

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"

namespace trireme::testing {
namespace {

constexpr int64_t kHeartbeatNs = 100'000'000;

step::PositionLogprobs made_up_logprobs(int32_t token, int n_top) {
  step::PositionLogprobs p;
  p.actual = {token, -0.5F - 0.125F * static_cast<float>(token % 7), 1};
  if (n_top > 0) p.top.push_back(p.actual);
  for (int i = 1; i < n_top; ++i) {
    p.top.push_back({token + i, p.actual.logprob - static_cast<float>(i), i + 1});
  }
  return p;
}

}  // namespace

int32_t expected_token(const TestReplicaOptions& options, const std::vector<int32_t>& prompt,
                       uint64_t seed, int32_t index) {
  if (!options.script.empty())
    return options.script[static_cast<size_t>(index) % options.script.size()];
  uint64_t hash = seed * 0x9E3779B97F4A7C15ULL + 12345;
  for (const int32_t token : prompt)
    hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001B3ULL;
  hash = (hash ^ static_cast<uint64_t>(index)) * 0xFF51AFD7ED558CCDULL;
  hash ^= hash >> 33;
  return options.first_token + static_cast<int32_t>(hash % static_cast<uint64_t>(options.n_tokens));
}

TestReplica::TestReplica(TestReplicaOptions options) : options_(std::move(options)) {
  thread_ = std::thread([this] { run(); });
}

TestReplica::~TestReplica() { kill(); }

void TestReplica::kill() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void TestReplica::say_goodbye() {
  goodbye_ = true;
  kill();
}

std::vector<wire::Submit> TestReplica::submits() const {
  const std::lock_guard lock(mutex_);
  return submits_;
}

std::vector<uint64_t> TestReplica::cancels() const {
  const std::lock_guard lock(mutex_);
  return cancels_;
}

std::string TestReplica::refusal() const {
  const std::lock_guard lock(mutex_);
  return refusal_;
}

void TestReplica::run() {
  auto endpoint = wire::ReplicaEndpoint::connect(options_.router_address, options_.curve, {});
  CHECK(endpoint.ok()) << endpoint.error().message;
  const SystemClock clock;
  std::vector<Running> running;
  const wire::Hello hello{.replica = options_.name,
                          .epoch = options_.epoch,
                          .model = options_.model,
                          .model_fingerprint = options_.fingerprint,
                          .plan = "made up",
                          .n_devices = 1,
                          .context = options_.context,
                          .vocab = options_.vocab,
                          .block_size = 16,
                          .n_kv_blocks = 1000,
                          .max_running = options_.max_running};
  (void)(*endpoint)->send(hello);  // refused until the link is up: the router then asks again
  int64_t next_beat_ns = 0;
  while (!stop_) {
    pollfd fd{(*endpoint)->event_fd(), POLLIN, 0};
    ::poll(&fd, 1, running.empty() ? 5 : 1);
    if (frozen_) continue;
    const int64_t now_ns = clock.now_ns();
    receive(**endpoint, running);
    if (now_ns >= next_beat_ns) {
      next_beat_ns = now_ns + kHeartbeatNs;
      wire::Heartbeat beat{.epoch = options_.epoch};
      beat.load.running = static_cast<int32_t>(running.size());
      (void)(*endpoint)->send(beat);
      wire::LedgerReport ledger{.epoch = options_.epoch,
                                .total_nano_usd = 100,
                                .prefill_nano_usd = 60,
                                .decode_nano_usd = 40,
                                .prompt_tokens = 10,
                                .generated_tokens = 20};
      (void)(*endpoint)->send(ledger);
    }
    step(**endpoint, running, now_ns);
    n_running_ = static_cast<int>(running.size());
  }
  if (goodbye_) {
    (void)(*endpoint)->send(wire::Goodbye{"the test is done with it"});
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

void TestReplica::receive(wire::ReplicaEndpoint& endpoint, std::vector<Running>& running) {
  const SystemClock clock;
  while (auto message = endpoint.receive()) {
    if (const auto* submit = std::get_if<wire::Submit>(&*message)) {
      const auto n_known = static_cast<int32_t>(submit->tokens.size()) - submit->n_prompt;
      running.push_back({*submit, n_known, clock.now_ns() + options_.first_token_delay_ns, false});
      const std::lock_guard lock(mutex_);
      submits_.push_back(*submit);
    } else if (const auto* cancel = std::get_if<wire::Cancel>(&*message)) {
      std::erase_if(running,
                    [&](const Running& job) { return job.submit.request == cancel->request; });
      const std::lock_guard lock(mutex_);
      cancels_.push_back(cancel->request);
    } else if (const auto* welcome = std::get_if<wire::Welcome>(&*message)) {
      if (router_epoch_ != welcome->router_epoch)
        running.clear();  // what an older router asked for
      router_epoch_ = welcome->router_epoch;
      ++n_welcomes_;
    } else if (std::holds_alternative<wire::HelloAgain>(*message)) {
      (void)endpoint.send(wire::Hello{.replica = options_.name,
                                      .epoch = options_.epoch,
                                      .model = options_.model,
                                      .model_fingerprint = options_.fingerprint,
                                      .plan = "made up",
                                      .n_devices = 1,
                                      .context = options_.context,
                                      .vocab = options_.vocab,
                                      .block_size = 16,
                                      .n_kv_blocks = 1000,
                                      .max_running = options_.max_running});
    } else if (const auto* refused = std::get_if<wire::Refused>(&*message)) {
      const std::lock_guard lock(mutex_);
      refusal_ = refused->reason;
    }
  }
}

wire::TokenUpdate TestReplica::next_update(Running& job, int64_t now_ns) {
  const wire::Submit& submit = job.submit;
  wire::TokenUpdate update;
  update.request = submit.request;
  update.first_index = job.next;
  update.cached_tokens = submit.n_prompt / 2;
  update.cost_nano_usd = 1000 * (job.next + 1);
  if (submit.sampling.n_prompt_logprobs >= 0 && !job.told_prompt) {
    for (int32_t i = 1; i < submit.n_prompt; ++i) {
      update.prompt_logprobs.push_back(made_up_logprobs(submit.tokens[static_cast<size_t>(i)],
                                                        submit.sampling.n_prompt_logprobs));
    }
  }
  job.told_prompt = true;
  if (submit.max_tokens == 0) {
    update.finish = wire::FinishReason::kLength;
    return update;
  }
  const std::vector<int32_t> prompt(submit.tokens.begin(), submit.tokens.begin() + submit.n_prompt);
  const bool stops = job.next == options_.stop_at && !submit.stop_token_ids.empty();
  const int32_t token = stops ? submit.stop_token_ids.front()
                              : expected_token(options_, prompt, submit.sampling.seed, job.next);
  update.tokens = {token};
  if (submit.sampling.n_logprobs >= 0) {
    update.logprobs.push_back(made_up_logprobs(token, submit.sampling.n_logprobs));
  }
  ++job.next;
  job.next_ns = std::max(job.next_ns + options_.token_interval_ns, now_ns);
  if (stops) {
    update.finish = wire::FinishReason::kStop;
    update.stop_token = token;
  } else if (job.next >= submit.max_tokens) {
    update.finish = wire::FinishReason::kLength;
  }
  return update;
}

void TestReplica::step(wire::ReplicaEndpoint& endpoint, std::vector<Running>& running,
                       int64_t now_ns) {
  wire::TokenBatch batch{.epoch = options_.epoch};
  std::vector<uint64_t> done;
  for (Running& job : running) {
    if (now_ns < job.next_ns) continue;
    if (options_.hold_at >= 0 && job.next >= options_.hold_at && !released_) continue;
    batch.updates.push_back(next_update(job, now_ns));
    if (batch.updates.back().finish != wire::FinishReason::kNone)
      done.push_back(job.submit.request);
  }
  if (batch.updates.empty()) return;
  (void)endpoint.send(batch);
  std::erase_if(running, [&](const Running& job) {
    return std::find(done.begin(), done.end(), job.submit.request) != done.end();
  });
}

}  // namespace trireme::testing
