// Upstream under losses: no token lost, repeated or altered.
#include "tests/unit/router/upstream_fixture.h"

namespace trireme::router {
namespace {

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
  // The dead one wakes up and goes on talking: it is asked who it is, then told to stop, and heard
  // no more.
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

// A random life of replicas and jobs: whatever happens, a listener sees 0, 1, 2, ... and then an
// end.
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
  std::map<std::string, std::pair<uint64_t, std::vector<Running>>>
      replicas;  // by peer: epoch, jobs
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
        for (int32_t k = 0; k < n_emitted; ++k)
          ASSERT_EQ(submit.tokens[static_cast<size_t>(submit.n_prompt + k)], k);
        replica.second.push_back({submit, n_emitted});
      }
      for (Running& job : replica.second) {
        if (job.next >= kTokens || random.below(3) == 0) continue;
        const int32_t n = 1 + static_cast<int32_t>(random.below(3));
        std::vector<int32_t> ids;
        const int32_t first = job.next;
        while (job.next < kTokens && static_cast<int32_t>(ids.size()) < n)
          ids.push_back(job.next++);
        const bool last = job.next == kTokens;
        tokens(peer, replica.first, job.submit.request, first, ids,
               last ? FinishReason::kLength : FinishReason::kNone);
      }
    }
    if (random.below(5) == 0 && n_losses < 30) {
      ++n_losses;
      const auto victim =
          std::next(replicas.begin(), static_cast<int>(random.below(replicas.size())));
      const std::string peer = victim->first;
      const std::string name = peer.substr(0, peer.find('@'));
      replicas.erase(victim);
      endpoint_.gone.insert(peer);
      if (random.below(2) == 0)
        pass(options_.heartbeat_ns);  // noticed before the next life, or by it
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
