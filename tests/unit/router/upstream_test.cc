// Upstream against a scripted endpoint and a clock that the test moves: no token lost, repeated or altered.
#include "router/upstream/upstream.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>

namespace trireme::router {
namespace {

using wire::FinishReason;

class FakeEndpoint final : public wire::RouterEndpoint {
 public:
  std::string address() const override { return "fake"; }
  Status send(const wire::PeerId& peer, const wire::FromRouter& message) override {
    if (gone.contains(peer)) return unavailable("gone");
    if (full.contains(peer)) return resource_exhausted("full");
    sent.emplace_back(peer, message);
    return {};
  }
  std::optional<wire::FromReplicaMessage> receive() override {
    if (incoming.empty()) return std::nullopt;
    auto message = std::move(incoming.front());
    incoming.pop_front();
    return message;
  }
  int event_fd() const override { return -1; }
  int64_t n_rejected_frames() const override { return 0; }

  // Messages of one kind to one peer, taken out.
  template <typename T>
  std::vector<T> take(const wire::PeerId& peer) {
    std::vector<T> out;
    std::erase_if(sent, [&](const auto& entry) {
      const T* message = entry.first == peer ? std::get_if<T>(&entry.second) : nullptr;
      if (message != nullptr) out.push_back(*message);
      return message != nullptr;
    });
    return out;
  }

  std::vector<std::pair<wire::PeerId, wire::FromRouter>> sent;
  std::deque<wire::FromReplicaMessage> incoming;
  std::set<wire::PeerId> gone, full;
};

struct Listener final : JobListener {
  bool on_update(const JobUpdate& update) override {
    tokens.insert(tokens.end(), update.tokens.begin(), update.tokens.end());
    finish = update.finish;
    cost = update.cost_nano_usd;
    n_prompt_logprobs += static_cast<int>(update.prompt_logprobs.size());
    return stop_after == 0 || tokens.size() < stop_after;
  }
  void on_error(const Error& e) override { error = e; }

  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  std::optional<Error> error;
  int64_t cost = 0;
  int n_prompt_logprobs = 0;
  size_t stop_after = 0;
};

class UpstreamTest : public testing::Test {
 protected:
  UpstreamTest() : metrics_(registry_, "m", 1000, false) {
    options_.model = "m";
    options_.vocab = 100;
    options_.router_epoch = 7;
    options_.queue_requests = 4;
    upstream_ = std::make_unique<Upstream>(clock_, endpoint_, options_, metrics_, [] {});
  }

  void say(const wire::PeerId& peer, wire::FromReplica message) {
    endpoint_.incoming.push_back({peer, std::move(message)});
    upstream_->poll();
  }
  void hello(const wire::PeerId& peer, const std::string& name, uint64_t epoch, const std::string& print = "f",
             int max_running = 8) {
    wire::Hello h;
    h.replica = name;
    h.epoch = epoch;
    h.model = "m";
    h.model_fingerprint = print;
    h.context = 64;
    h.vocab = 100;
    h.block_size = 4;
    h.n_kv_blocks = 100;
    h.max_running = max_running;
    say(peer, h);
  }
  void tokens(const wire::PeerId& peer, uint64_t epoch, uint64_t request, int32_t first, std::vector<int32_t> ids,
              FinishReason finish = FinishReason::kNone, int64_t cost = 0) {
    wire::TokenUpdate update;
    update.request = request;
    update.first_index = first;
    update.tokens = std::move(ids);
    update.finish = finish;
    update.cost_nano_usd = cost;
    say(peer, wire::TokenBatch{epoch, {update}});
  }
  void fail(const wire::PeerId& peer, uint64_t epoch, uint64_t request, Error error) {
    wire::TokenUpdate update;
    update.request = request;
    update.finish = FinishReason::kError;
    update.error = std::move(error);
    say(peer, wire::TokenBatch{epoch, {update}});
  }
  JobSpec spec(int32_t max_tokens = 10) {
    JobSpec s;
    s.prompt = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{1, 2, 3});
    s.max_tokens = max_tokens;
    return s;
  }
  void pass(int64_t ns) {
    clock_.advance_ns(ns);
    upstream_->tick();
  }

  ManualClock clock_;
  FakeEndpoint endpoint_;
  MetricsRegistry registry_;
  RouterMetrics metrics_;
  UpstreamOptions options_;
  std::unique_ptr<Upstream> upstream_;
};

TEST_F(UpstreamTest, GreetsRefusesAndAsksAgain) {
  hello("a", "r0", 1);
  ASSERT_EQ(endpoint_.take<wire::Welcome>("a").size(), 1U);
  EXPECT_EQ(upstream_->n_ready_replicas(), 1);
  wire::Hello wrong;
  wrong.major = 2;
  wrong.replica = "r1";
  wrong.model = "m";
  say("b", wrong);
  const auto refused = endpoint_.take<wire::Refused>("b");
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].reason, "protocol 2.0 is not 1.x");
  wrong.major = wire::kProtocolMajor;
  wrong.model = "another";
  say("b", wrong);
  EXPECT_EQ(endpoint_.take<wire::Refused>("b").size(), 1U);
  say("c", wire::Heartbeat{5, {}});
  EXPECT_EQ(endpoint_.take<wire::HelloAgain>("c").size(), 1U) << "an unknown peer is asked who it is";
  EXPECT_EQ(upstream_->n_ready_replicas(), 1);
}

TEST_F(UpstreamTest, RunsAJob) {
  hello("a", "r0", 1);
  Listener listener;
  upstream_->start(spec(), &listener);
  const auto submits = endpoint_.take<wire::Submit>("a");
  ASSERT_EQ(submits.size(), 1U);
  EXPECT_EQ(submits[0].tokens, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(submits[0].n_prompt, 3);
  EXPECT_FALSE(submits[0].resumed);
  tokens("a", 1, submits[0].request, 0, {10, 11});
  tokens("a", 1, submits[0].request, 2, {12}, FinishReason::kStop, 55);
  EXPECT_EQ(listener.tokens, (std::vector<int32_t>{10, 11, 12}));
  EXPECT_EQ(listener.finish, FinishReason::kStop);
  EXPECT_EQ(listener.cost, 55);
  EXPECT_EQ(upstream_->n_jobs(), 0);
  EXPECT_TRUE(endpoint_.take<wire::Cancel>("a").empty());
}

TEST_F(UpstreamTest, QueuesUntilAReplicaComes) {
  Listener listener;
  upstream_->start(spec(), &listener);
  EXPECT_EQ(upstream_->n_queued(), 1);
  hello("a", "r0", 1);
  EXPECT_EQ(upstream_->n_queued(), 0);
  EXPECT_EQ(endpoint_.take<wire::Submit>("a").size(), 1U);
}

TEST_F(UpstreamTest, QueueIsBoundedInLengthAndTime) {
  std::vector<Listener> listeners(4);
  for (Listener& listener : listeners) upstream_->start(spec(), &listener);
  EXPECT_FALSE(upstream_->check_room(1, 3).ok());
  EXPECT_EQ(upstream_->check_room(1, 3).error().code, ErrorCode::kResourceExhausted);
  pass(options_.queue_timeout_ns + kSecondNs);
  for (Listener& listener : listeners) {
    ASSERT_TRUE(listener.error);
    EXPECT_EQ(listener.error->code, ErrorCode::kDeadlineExceeded);
  }
  EXPECT_TRUE(upstream_->check_room(1, 3).ok());
}

TEST_F(UpstreamTest, PriorityGoesFirst) {
  Listener low, high;
  JobSpec late = spec();
  late.priority = 5;
  late.trace = "low";
  JobSpec soon = spec();
  soon.priority = -5;
  soon.trace = "high";
  upstream_->start(std::move(late), &low);
  upstream_->start(std::move(soon), &high);
  hello("a", "r0", 1);
  const auto submits = endpoint_.take<wire::Submit>("a");
  ASSERT_EQ(submits.size(), 2U);
  EXPECT_EQ(submits[0].trace, "high");
}

TEST_F(UpstreamTest, ResumesOnAnEqualReplicaOnly) {
  hello("a", "r0", 1, "f");
  Listener listener;
  upstream_->start(spec(), &listener);
  const auto first = endpoint_.take<wire::Submit>("a");
  ASSERT_EQ(first.size(), 1U);
  tokens("a", 1, first[0].request, 0, {10, 11});
  hello("b", "r1", 1, "other weights");
  // The connection closes: known with the next heartbeat.
  endpoint_.gone.insert("a");
  pass(options_.heartbeat_ns);
  EXPECT_EQ(upstream_->n_queued(), 1);
  EXPECT_TRUE(endpoint_.take<wire::Submit>("b").empty());
  hello("c", "r2", 1, "f");
  const auto second = endpoint_.take<wire::Submit>("c");
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].tokens, (std::vector<int32_t>{1, 2, 3, 10, 11}));
  EXPECT_EQ(second[0].n_prompt, 3);
  EXPECT_TRUE(second[0].resumed);
  EXPECT_NE(second[0].request, first[0].request);
  tokens("c", 1, second[0].request, 2, {12}, FinishReason::kLength);
  EXPECT_EQ(listener.tokens, (std::vector<int32_t>{10, 11, 12}));
  EXPECT_FALSE(listener.error);
}

TEST_F(UpstreamTest, SilenceIsDeath) {
  hello("a", "r0", 1);
  Listener listener;
  upstream_->start(spec(), &listener);
  const auto first = endpoint_.take<wire::Submit>("a");
  tokens("a", 1, first[0].request, 0, {10});
  hello("b", "r1", 2);
  for (int i = 0; i < 12; ++i) {
    say("b", wire::Heartbeat{2, {}});
    pass(options_.heartbeat_ns);
  }
  EXPECT_EQ(upstream_->n_ready_replicas(), 1);
  const auto second = endpoint_.take<wire::Submit>("b");
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].tokens.back(), 10);
  // The dead one wakes up and goes on talking: it is asked who it is, then told to stop, and heard no more.
  tokens("a", 1, first[0].request, 1, {99});
  EXPECT_EQ(endpoint_.take<wire::HelloAgain>("a").size(), 1U);
  hello("a", "r0", 1);
  tokens("a", 1, first[0].request, 2, {98});
  const auto cancels = endpoint_.take<wire::Cancel>("a");
  ASSERT_EQ(cancels.size(), 1U);
  EXPECT_EQ(cancels[0].request, first[0].request);
  EXPECT_EQ(listener.tokens, (std::vector<int32_t>{10}));
}

TEST_F(UpstreamTest, ANewEpochResumesAllJobs) {
  hello("a", "r0", 1);
  Listener listener;
  upstream_->start(spec(), &listener);
  const auto first = endpoint_.take<wire::Submit>("a");
  tokens("a", 1, first[0].request, 0, {10});
  hello("a2", "r0", 2);
  const auto second = endpoint_.take<wire::Submit>("a2");
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].tokens, (std::vector<int32_t>{1, 2, 3, 10}));
  EXPECT_EQ(upstream_->n_ready_replicas(), 1);
  // Words of the old life count no more, wherever they come from.
  tokens("a2", 1, second[0].request, 1, {77});
  EXPECT_EQ(listener.tokens, (std::vector<int32_t>{10}));
}

TEST_F(UpstreamTest, GoodbyeResumes) {
  hello("a", "r0", 1);
  hello("b", "r1", 1, "f", 1);
  Listener listeners[3];
  for (Listener& listener : listeners) upstream_->start(spec(), &listener);
  const size_t on_b = endpoint_.take<wire::Submit>("b").size();
  say("b", wire::Goodbye{"maintenance"});
  const size_t on_a = endpoint_.take<wire::Submit>("a").size();
  EXPECT_EQ(on_a, 3U) << on_b << " of them moved";
  EXPECT_EQ(upstream_->n_ready_replicas(), 1);
}

TEST_F(UpstreamTest, DrainingReplicaGetsNothingNew) {
  hello("a", "r0", 1);
  wire::Load load;
  load.draining = true;
  say("a", wire::Heartbeat{1, load});
  Listener listener;
  upstream_->start(spec(), &listener);
  EXPECT_TRUE(endpoint_.take<wire::Submit>("a").empty());
  EXPECT_EQ(upstream_->n_ready_replicas(), 0);
}

TEST_F(UpstreamTest, DropsRepeatsAndTreatsGapsAsLoss) {
  hello("a", "r0", 1);
  Listener listener;
  upstream_->start(spec(), &listener);
  auto submits = endpoint_.take<wire::Submit>("a");
  tokens("a", 1, submits[0].request, 0, {10, 11});
  tokens("a", 1, submits[0].request, 0, {10, 11});
  tokens("a", 1, submits[0].request, 1, {11, 12});
  EXPECT_EQ(listener.tokens, (std::vector<int32_t>{10, 11, 12}));
  tokens("a", 1, submits[0].request, 5, {20});
  EXPECT_EQ(listener.tokens.size(), 3U) << "a gap is never shown";
  EXPECT_EQ(endpoint_.take<wire::Cancel>("a").size(), 1U);
  pass(kSecondNs);
  submits = endpoint_.take<wire::Submit>("a");
  ASSERT_EQ(submits.size(), 1U);
  EXPECT_EQ(submits[0].tokens, (std::vector<int32_t>{1, 2, 3, 10, 11, 12}));
}

TEST_F(UpstreamTest, RefusesNonsenseTokens) {
  hello("a", "r0", 1);
  for (const int32_t bad : {-1, 100}) {
    Listener listener;
    const JobId job = upstream_->start(spec(), &listener);
    const auto submits = endpoint_.take<wire::Submit>("a");
    tokens("a", 1, submits[0].request, 0, {bad});
    EXPECT_TRUE(listener.tokens.empty());
    upstream_->cancel(job);
  }
  Listener listener;
  const JobId job = upstream_->start(spec(2), &listener);
  const auto submits = endpoint_.take<wire::Submit>("a");
  tokens("a", 1, submits[0].request, 0, {1, 2, 3});
  EXPECT_TRUE(listener.tokens.empty()) << "more tokens than were asked for";
  upstream_->cancel(job);
}

TEST_F(UpstreamTest, RetriesBeforeTheFirstTokenThenGivesUp) {
  hello("a", "r0", 1);
  Listener listener;
  upstream_->start(spec(), &listener);
  int n_tries = 0;
  for (int i = 0; i < 40 && !listener.error; ++i) {
    for (const auto& submit : endpoint_.take<wire::Submit>("a")) {
      ++n_tries;
      fail("a", 1, submit.request, resource_exhausted("the replica is full"));
    }
    say("a", wire::Heartbeat{1, {}});
    pass(kSecondNs);
  }
  EXPECT_EQ(n_tries, kMaxTries);
  ASSERT_TRUE(listener.error);
  EXPECT_EQ(listener.error->code, ErrorCode::kResourceExhausted);
}

TEST_F(UpstreamTest, WhatTheRequestDidWrongIsNotRetried) {
  hello("a", "r0", 1);
  Listener listener;
  upstream_->start(spec(), &listener);
  const auto submits = endpoint_.take<wire::Submit>("a");
  fail("a", 1, submits[0].request, invalid_argument("no"));
  ASSERT_TRUE(listener.error);
  EXPECT_EQ(listener.error->code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(upstream_->n_jobs(), 0);
}

TEST_F(UpstreamTest, BreakerTakesAFailingReplicaOut) {
  hello("a", "r0", 1);
  std::vector<Listener> listeners(5);
  for (Listener& listener : listeners) {
    upstream_->start(spec(), &listener);
    const auto submits = endpoint_.take<wire::Submit>("a");
    ASSERT_EQ(submits.size(), 1U);
    fail("a", 1, submits[0].request, internal_error("broken"));
  }
  EXPECT_EQ(upstream_->n_ready_replicas(), 0);
  for (int i = 0; i < 29; ++i) {
    say("a", wire::Heartbeat{1, {}});
    pass(kSecondNs);
  }
  EXPECT_TRUE(endpoint_.take<wire::Submit>("a").empty()) << "open";
  for (int i = 0; i < 2; ++i) {
    say("a", wire::Heartbeat{1, {}});
    pass(kSecondNs);
  }
  EXPECT_FALSE(endpoint_.take<wire::Submit>("a").empty()) << "half open";
}

TEST_F(UpstreamTest, ListenerMayStopAndClientsMayCancel) {
  hello("a", "r0", 1);
  Listener listener;
  listener.stop_after = 2;
  upstream_->start(spec(), &listener);
  auto submits = endpoint_.take<wire::Submit>("a");
  tokens("a", 1, submits[0].request, 0, {10, 11});
  EXPECT_EQ(endpoint_.take<wire::Cancel>("a").size(), 1U);
  EXPECT_EQ(upstream_->n_jobs(), 0);
  Listener hung_up;
  const JobId job = upstream_->start(spec(), &hung_up);
  submits = endpoint_.take<wire::Submit>("a");
  upstream_->cancel(job);
  const auto cancels = endpoint_.take<wire::Cancel>("a");
  ASSERT_EQ(cancels.size(), 1U);
  EXPECT_EQ(cancels[0].request, submits[0].request);
  upstream_->cancel(job);  // nothing happens twice
  EXPECT_TRUE(endpoint_.take<wire::Cancel>("a").empty());
}

TEST_F(UpstreamTest, DeadlineEndsAJobEverywhere) {
  hello("a", "r0", 1);
  Listener listener;
  JobSpec late = spec();
  late.deadline_ns = clock_.now_ns() + 3 * kSecondNs;
  upstream_->start(std::move(late), &listener);
  const auto submits = endpoint_.take<wire::Submit>("a");
  EXPECT_EQ(submits[0].deadline_unix_ns, clock_.unix_ns() + 3 * kSecondNs);
  say("a", wire::Heartbeat{1, {}});
  pass(4 * kSecondNs);
  ASSERT_TRUE(listener.error);
  EXPECT_EQ(listener.error->code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(endpoint_.take<wire::Cancel>("a").size(), 1U);
}

TEST_F(UpstreamTest, PromptLogprobsComeOnceAndCostsAddUp) {
  hello("a", "r0", 1);
  Listener listener;
  JobSpec s = spec();
  s.sampling.n_prompt_logprobs = 1;
  upstream_->start(std::move(s), &listener);
  const auto first = endpoint_.take<wire::Submit>("a");
  wire::TokenUpdate update;
  update.request = first[0].request;
  update.tokens = {10};
  update.prompt_logprobs.resize(2);
  update.cost_nano_usd = 100;
  say("a", wire::TokenBatch{1, {update}});
  EXPECT_EQ(listener.n_prompt_logprobs, 2);
  hello("a2", "r0", 2);
  const auto second = endpoint_.take<wire::Submit>("a2");
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].sampling.n_prompt_logprobs, -1) << "they were told already";
  tokens("a2", 2, second[0].request, 1, {11}, FinishReason::kLength, 40);
  EXPECT_EQ(listener.cost, 140);
  EXPECT_EQ(listener.n_prompt_logprobs, 2);
}

TEST_F(UpstreamTest, ExplainsItsChoices) {
  hello("a", "r0", 1);
  hello("b", "r1", 1, "f", 8);
  Listener listener;
  JobSpec s = spec();
  s.trace = "req-1";
  upstream_->start(std::move(s), &listener);
  const auto records = upstream_->explain().find("req-1");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0]->candidates.size(), 2U);
  EXPECT_EQ(records[0]->reason, "first");
  EXPECT_TRUE(records[0]->chosen == "r0" || records[0]->chosen == "r1");
  EXPECT_TRUE(upstream_->explain().find("req-2").empty());
}

TEST_F(UpstreamTest, PrefersThePrefixThatAReplicaHas) {
  hello("a", "r0", 1);
  hello("b", "r1", 1);
  JobSpec s = spec();
  s.prompt = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>(16, 9));
  for (int i = 0; i < 6; ++i) {
    Listener listener;
    const JobId job = upstream_->start(JobSpec(s), &listener);
    upstream_->cancel(job);
  }
  const size_t n_a = endpoint_.take<wire::Submit>("a").size();
  const size_t n_b = endpoint_.take<wire::Submit>("b").size();
  EXPECT_TRUE((n_a == 6 && n_b == 0) || (n_a == 0 && n_b == 6)) << n_a << " " << n_b;
}

// A random life of replicas and jobs: whatever happens, a listener sees 0, 1, 2, ... and then an end.
TEST_F(UpstreamTest, RandomLossesKeepEveryStreamExact) {
  Random random(11);
  constexpr int kJobs = 40;
  constexpr int32_t kTokens = 60;
  options_.queue_requests = 100;
  upstream_ = std::make_unique<Upstream>(clock_, endpoint_, options_, metrics_, [] {});
  std::vector<std::unique_ptr<Listener>> listeners;
  struct Running {
    wire::Submit submit;
    int32_t next;
  };
  std::map<std::string, std::pair<uint64_t, std::vector<Running>>> replicas;  // by peer: epoch, jobs
  uint64_t epoch = 1;
  int n_losses = 0;
  const auto join = [&](const std::string& name) {
    const std::string peer = name + "@" + std::to_string(++epoch);
    replicas[peer] = {epoch, {}};
    hello(peer, name, epoch, "f", 16);
  };
  join("r0");
  join("r1");
  for (int i = 0; i < kJobs; ++i) {
    listeners.push_back(std::make_unique<Listener>());
    upstream_->start(spec(kTokens), listeners.back().get());
  }
  for (int round = 0; round < 4000; ++round) {
    for (auto& [peer, replica] : replicas) {
      for (const auto& submit : endpoint_.take<wire::Submit>(peer)) {
        const auto n_emitted = static_cast<int32_t>(submit.tokens.size()) - submit.n_prompt;
        for (int32_t k = 0; k < n_emitted; ++k) ASSERT_EQ(submit.tokens[static_cast<size_t>(submit.n_prompt + k)], k);
        replica.second.push_back({submit, n_emitted});
      }
      for (Running& job : replica.second) {
        if (job.next >= kTokens || random.below(3) == 0) continue;
        const int32_t n = 1 + static_cast<int32_t>(random.below(3));
        std::vector<int32_t> ids;
        const int32_t first = job.next;
        while (job.next < kTokens && static_cast<int32_t>(ids.size()) < n) ids.push_back(job.next++);
        const bool last = job.next == kTokens;
        tokens(peer, replica.first, job.submit.request, first, ids, last ? FinishReason::kLength : FinishReason::kNone);
      }
    }
    if (random.below(5) == 0 && n_losses < 30) {
      ++n_losses;
      const auto victim = std::next(replicas.begin(), static_cast<int>(random.below(replicas.size())));
      const std::string peer = victim->first;
      const std::string name = peer.substr(0, peer.find('@'));
      replicas.erase(victim);
      endpoint_.gone.insert(peer);
      if (random.below(2) == 0) pass(options_.heartbeat_ns);  // noticed before the next life, or by it
      join(name);
    }
    for (auto& [peer, replica] : replicas) say(peer, wire::Heartbeat{replica.first, {}});
    pass(20 * kMillisecondNs);
    if (upstream_->n_jobs() == 0) break;
  }
  EXPECT_GT(n_losses, 5);
  for (const auto& listener : listeners) {
    ASSERT_FALSE(listener->error) << listener->error->message;
    ASSERT_EQ(listener->tokens.size(), static_cast<size_t>(kTokens));
    for (int32_t k = 0; k < kTokens; ++k) EXPECT_EQ(listener->tokens[static_cast<size_t>(k)], k);
    EXPECT_EQ(listener->finish, FinishReason::kLength);
  }
}

}  // namespace
}  // namespace trireme::router
