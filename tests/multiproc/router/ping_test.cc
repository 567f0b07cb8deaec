// A silent stream is kept alive by comments.
#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

TEST_F(RouterFixture, PingsWhileNothingElseIsSent) {
  config_.router.replica_dead_ns = 1000 * kSecondNs;
  start_router();
  auto options = replica_options();
  options.hold_at = 0;
  testing::TestReplica replica(options);
  wait_ready(1);
  testing::HttpClient client(router_->port());
  client.send(testing::post("/v1/completions",
                            R"({"prompt":[5],"max_tokens":2,"stream":true,"ignore_eos":true})"));
  ASSERT_TRUE(eventually([&] { return replica.submits().size() == 1; }));
  EXPECT_EQ(client.read_some(300), "") << "an early failure could still be a status";
  clock_.ahead_ns = 16 * kSecondNs;
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_EQ(client.read_some(60'000), "8\r\n: ping\n\n\r\n");
  replica.release();
  EXPECT_FALSE(client.read_events().empty());
  EXPECT_TRUE(client.saw_done());
}

// What a client sees of a stream whose every token is a special one: the head with the first of
// them, and comments, which tokens that show nothing do not put off.
TEST_F(RouterFixture, HiddenTokensNeitherHoldTheHeadNorBreakTheSilence) {
  start_router();
  auto options = replica_options();
  options.vocab = model_.vocab;
  options.script = {model_.tokenizer->token_to_id("<|reserved_0|>")};
  options.token_interval_ns = 50 * kMillisecondNs;
  testing::TestReplica replica(options);
  wait_ready(1);
  testing::HttpClient client(router_->port());
  client.send(testing::post("/v1/completions",
                            R"({"prompt":[5],"max_tokens":400,"stream":true,"ignore_eos":true})"));
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_EQ(replica.n_running(), 1) << "it came before the end";
  for (int i = 0; i < 2; ++i) {
    clock_.ahead_ns += 16 * kSecondNs;
    EXPECT_EQ(client.read_some(60'000), "8\r\n: ping\n\n\r\n");
  }
  client.close();
}

TEST_F(RouterFixture, PingsCanBeOff) {
  config_.router.stream_ping_ns = 0;
  config_.router.replica_dead_ns = 1000 * kSecondNs;
  start_router();
  auto options = replica_options();
  options.hold_at = 1;
  testing::TestReplica replica(options);
  wait_ready(1);
  testing::HttpClient client(router_->port());
  client.send(testing::post("/v1/completions",
                            R"({"prompt":[5],"max_tokens":2,"stream":true,"ignore_eos":true})"));
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_NE(client.read_some(60'000).find("data: "), std::string::npos);
  clock_.ahead_ns = 100 * kSecondNs;
  EXPECT_EQ(client.read_some(2500), "") << "two turns of the clock later";
  replica.release();
  EXPECT_FALSE(client.read_events().empty());
  EXPECT_TRUE(client.saw_done());
}

}  // namespace
}  // namespace trireme::router
