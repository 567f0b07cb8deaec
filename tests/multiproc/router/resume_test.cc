// Streams outlive their replica, replicas outlive their router.
#include <atomic>

#include "parallel/wire/curve_keys.h"
#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

using testing::expected_token;
using testing::HttpClient;
using testing::post;
using testing::TestReplica;

class ResumeTest : public RouterFixture {
 protected:
  static constexpr int kStreams = 64;
  static constexpr int kTokens = 120;

  ResumeTest() { config_.router.replica_dead_ns = 3 * kSecondNs; }
  testing::TestReplicaOptions holding(const std::string& name, uint64_t epoch,
                                      int32_t hold_at) const {
    auto options = replica_options(name, epoch);
    options.hold_at = hold_at;
    return options;
  }
  static std::vector<int32_t> prompt_of(int i) { return {5 + i, 6, 7 + i % 5}; }
  static std::string body_of(int i) {
    const auto prompt = prompt_of(i);
    return Json{{"prompt", prompt}, {"seed", 100 + i},    {"max_tokens", kTokens},
                {"stream", true},   {"ignore_eos", true}, {"return_token_ids", true}}
        .dump();
  }
  // The ids of one stream; empty where it failed.
  std::vector<int32_t> run_stream(int i) {
    HttpClient client(router_->port());
    client.send(post("/v1/completions", body_of(i)));
    if (client.read_head().status != 200) return {};
    std::vector<int32_t> ids;
    for (const std::string& event : client.read_events([this](const std::string&) {
           ++n_events_;
           return true;
         })) {
      const Json json = parse(event);
      if (json.contains("error")) return {};
      if (!json["choices"][0].contains("token_ids")) continue;
      for (const Json& id : json["choices"][0]["token_ids"]) ids.push_back(id);
    }
    return client.saw_done() ? ids : std::vector<int32_t>{};
  }
  std::atomic<int> n_events_{0};
};

TEST_F(ResumeTest, SixtyFourStreamsSurviveAReplica) {
  start_router();
  // Each is lost while its streams wait at a known token, and its next life finishes them.
  const auto options = holding("replica-0", 1, kTokens / 4);
  auto first = std::make_unique<TestReplica>(options);
  TestReplica second(holding("replica-1", 2, kTokens / 2));
  wait_ready(2);
  std::vector<std::vector<int32_t>> ids(kStreams);
  std::vector<std::thread> threads;
  for (int i = 0; i < kStreams; ++i)
    threads.emplace_back([&, i] { ids[static_cast<size_t>(i)] = run_stream(i); });
  ASSERT_TRUE(eventually([&] { return n_events_ > kStreams * kTokens / 8; }));
  EXPECT_GT(first->n_running(), 8);
  first->kill();
  first = std::make_unique<TestReplica>(replica_options("replica-0", 3));  // its next life joins
  ASSERT_TRUE(eventually([&] { return n_events_ > kStreams * kTokens * 3 / 8; }));
  second.say_goodbye();
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kStreams; ++i) {
    ASSERT_EQ(ids[static_cast<size_t>(i)].size(), static_cast<size_t>(kTokens)) << "stream " << i;
    for (int k = 0; k < kTokens; ++k) {
      ASSERT_EQ(ids[static_cast<size_t>(i)][static_cast<size_t>(k)],
                expected_token(options, prompt_of(i), static_cast<uint64_t>(100 + i), k))
          << "stream " << i << " token " << k;
    }
  }
}

TEST_F(ResumeTest, AFrozenReplicaIsGivenUpAndStaysSilencedAfterwards) {
  start_router();
  const auto options = holding("replica-0", 1, kTokens / 3);
  TestReplica frozen(options);
  wait_ready(1);
  std::vector<std::vector<int32_t>> ids(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] { ids[static_cast<size_t>(i)] = run_stream(i); });
  ASSERT_TRUE(eventually([&] { return n_events_ > 80; }));
  frozen.freeze(true);
  frozen.release();  // it would go on as soon as it is thawed
  TestReplica other(replica_options("replica-1", 2));
  ASSERT_TRUE(eventually([&] { return other.submits().size() == 8; }));
  frozen.freeze(false);
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(ids[static_cast<size_t>(i)].size(), static_cast<size_t>(kTokens));
    for (int k = 0; k < kTokens; ++k) {
      ASSERT_EQ(ids[static_cast<size_t>(i)][static_cast<size_t>(k)],
                expected_token(options, prompt_of(i), static_cast<uint64_t>(100 + i), k));
    }
  }
  EXPECT_TRUE(eventually([&] { return frozen.n_running() == 0; }))
      << "it was told to stop what had moved";
}

TEST_F(ResumeTest, AStreamWaitsForItsReplicaToComeBack) {
  start_router();
  const auto options = holding("replica-0", 1, kTokens / 2);
  auto replica = std::make_unique<TestReplica>(options);
  wait_ready(1);
  std::vector<int32_t> ids;
  std::thread thread([&] { ids = run_stream(3); });
  ASSERT_TRUE(eventually([&] { return n_events_ > 20; }));
  replica->kill();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  auto stranger = replica_options("replica-9", 9);
  stranger.fingerprint = "other weights";
  stranger.first_token = 900;
  TestReplica other(stranger);  // would answer with other tokens
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_TRUE(other.submits().empty());
  replica = std::make_unique<TestReplica>(replica_options("replica-0", 2));
  thread.join();
  ASSERT_EQ(ids.size(), static_cast<size_t>(kTokens));
  for (int k = 0; k < kTokens; ++k) {
    ASSERT_EQ(ids[static_cast<size_t>(k)], expected_token(options, prompt_of(3), 103, k));
  }
  EXPECT_TRUE(replica->submits().at(0).resumed);
}

TEST_F(ResumeTest, NoReplicaInTimeIsAnErrorInTheStream) {
  config_.limits.queue_timeout_ns = 600 * kMillisecondNs;
  start_router();
  TestReplica replica(holding("replica-0", 1, kTokens / 2));
  wait_ready(1);
  HttpClient client(router_->port());
  client.send(post("/v1/completions", body_of(1)));
  EXPECT_EQ(client.read_head().status, 200);
  int n = 0;
  client.read_events([&](const std::string&) { return ++n < 5; });
  replica.kill();
  const auto events = client.read_events();
  EXPECT_TRUE(client.saw_done());
  ASSERT_FALSE(events.empty());
  EXPECT_TRUE(parse(events.back()).contains("error"));
}

TEST_F(ResumeTest, ReplicasAnnounceThemselvesToARestartedRouter) {
  start_router();
  TestReplica replica(holding("replica-0", 1, kTokens / 2));
  wait_ready(1);
  const uint64_t old_epoch = replica.router_epoch();
  const std::string address = router_->wire_address();
  HttpClient client(router_->port());
  client.send(post("/v1/completions", body_of(1)));
  ASSERT_TRUE(eventually([&] { return replica.n_running() == 1; }));
  stop_router();
  config_.router.wire_port = std::stoi(address.substr(address.rfind(':') + 1));
  start_router();
  wait_ready(1);
  // The router is ready when it has heard of the replica, which has yet to hear the welcome.
  EXPECT_TRUE(eventually([&] { return replica.router_epoch() != old_epoch; }));
  EXPECT_TRUE(eventually([&] { return replica.n_running() == 0; }))
      << "what the lost client had asked for is cancelled";
  replica.release();
  EXPECT_EQ(run_stream(2).size(), static_cast<size_t>(kTokens));
}

TEST_F(ResumeTest, TwoRoutersShareAReplicaWithoutKnowingEachOther) {
  start_router();
  auto second = Router::create(config_, model_, {.index = 1, .handle_signals = false}, clock_);
  ASSERT_TRUE(second.ok());
  std::thread thread([&] { (*second)->run(); });
  TestReplica one(replica_options("replica-0", 1));
  auto options = replica_options("replica-0", 1);
  options.router_address = (*second)->wire_address();
  TestReplica two(options);
  wait_ready(1);
  ASSERT_TRUE(eventually([&] { return two.n_welcomes() > 0; }));
  EXPECT_NE(one.router_epoch(), two.router_epoch());
  EXPECT_EQ(run_stream(1).size(), static_cast<size_t>(kTokens));
  (*second)->stop();
  thread.join();
}

}  // namespace
}  // namespace trireme::router
