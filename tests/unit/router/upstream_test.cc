// Upstream: replicas come and go, jobs queue, retry and end.
#include "tests/unit/router/upstream_fixture.h"

namespace trireme::router {
namespace {

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
  EXPECT_EQ(endpoint_.take<wire::HelloAgain>("c").size(), 1U)
      << "an unknown peer is asked who it is";
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

}  // namespace
}  // namespace trireme::router
