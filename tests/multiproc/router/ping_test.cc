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

}  // namespace
}  // namespace trireme::router
