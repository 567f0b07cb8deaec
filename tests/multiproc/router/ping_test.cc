// A silent stream is kept alive by comments.
#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

// The machine's clock, moved ahead at will: 15 s pass at once.
class SkewedClock final : public Clock {
 public:
  int64_t now_ns() const override { return clock_.now_ns() + ahead_ns; }
  int64_t unix_ns() const override { return clock_.unix_ns() + ahead_ns; }
  std::atomic<int64_t> ahead_ns{0};

 private:
  SystemClock clock_;
};

TEST_F(RouterFixture, PingsWhileNothingElseIsSent) {
  SkewedClock clock;
  config_.router.replica_dead_ns = 1000 * kSecondNs;
  auto router = Router::create(config_, model_, {.handle_signals = false}, clock);
  ASSERT_TRUE(router.ok());
  router_ = std::move(*router);
  thread_ = std::thread([this] { router_->run(); });
  auto options = replica_options();
  options.first_token_delay_ns = 3 * kSecondNs;
  testing::TestReplica replica(options);
  wait_ready(1);
  testing::HttpClient client(router_->port());
  client.send(testing::post("/v1/completions",
                            R"({"prompt":[5],"max_tokens":2,"stream":true,"ignore_eos":true})"));
  ASSERT_TRUE(eventually([&] { return replica.submits().size() == 1; }));
  EXPECT_EQ(client.read_some(300), "") << "an early failure could still be a status";
  clock.ahead_ns = 16 * kSecondNs;
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_EQ(client.read_some(2000), "8\r\n: ping\n\n\r\n");
  EXPECT_FALSE(client.read_events().empty());
  EXPECT_TRUE(client.saw_done());
  stop_router();  // before its clock
}

}  // namespace
}  // namespace trireme::router
