// The HTTP front against clients of every kind: slow, greedy, silent, rude.
#include <set>

#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

using testing::HttpClient;
using testing::post;
using testing::TestReplica;

class HttpTest : public RouterFixture {
 protected:
  std::string completion(int max_tokens, const std::string& more = "") const {
    return R"({"model":"trireme-demo","prompt":[5,6,7],"max_tokens":)" +
           std::to_string(max_tokens) + R"(,"ignore_eos":true,"return_token_ids":true)" +
           (more.empty() ? "" : "," + more) + "}";
  }
};

TEST_F(HttpTest, KeepAliveAndPipelining) {
  start_router();
  HttpClient client(router_->port());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.request("GET", "/version").status, 200);
  std::string pipeline;
  for (int i = 0; i < 500; ++i) pipeline += "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
  pipeline += "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  std::thread writer([&] { client.send(pipeline); });
  for (int i = 0; i < 500; ++i) ASSERT_EQ(client.read_reply().status, 200) << i;
  const auto last = client.read_reply();
  writer.join();
  EXPECT_EQ(last.status, 404);
  EXPECT_EQ(last.headers.at("connection"), "close");
  EXPECT_EQ(client.read_some(60'000), "");
  EXPECT_TRUE(client.saw_end());
}

TEST_F(HttpTest, AnswersInOrderWhileARequestRuns) {
  start_router();
  TestReplica replica(replica_options());
  wait_ready(1);
  HttpClient client(router_->port());
  client.send(post("/v1/completions", completion(20)) + "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.read_reply().body.find("text_completion"), std::string::npos);
  EXPECT_NE(client.read_reply().body.find("version"), std::string::npos);
}

TEST_F(HttpTest, BadRequestsAndLimits) {
  config_.limits.header_count = 20;
  config_.limits.header_bytes = 4096;
  start_router();
  const auto status_of = [&](const std::string& bytes) {
    HttpClient client(router_->port());
    client.send(bytes);
    return client.read_reply().status;
  };
  EXPECT_EQ(status_of("GARBAGE\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/9.9\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET /version HTTP/1.1\r\nX: " + std::string(10'000, 'a') + "\r\n\r\n"), 431);
  std::string many = "GET /version HTTP/1.1\r\n";
  for (int i = 0; i < 30; ++i) many += "X" + std::to_string(i) + ": 1\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), 431);
  EXPECT_EQ(status_of("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                      "chunked\r\nContent-Length: 5\r\n\r\n"),
            400);
  EXPECT_EQ(status_of("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"),
            400);
  EXPECT_EQ(status_of("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Encoding: "
                      "gzip\r\nContent-Length: 5\r\n\r\n"),
            415);
  EXPECT_EQ(status_of("POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: "
                      "miracles\r\nContent-Length: 5\r\n\r\n"),
            417);
  EXPECT_EQ(status_of("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: "
                      "text/plain\r\nContent-Length: 2\r\n\r\n{}"),
            415);
  EXPECT_EQ(status_of("DELETE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
  EXPECT_EQ(status_of("POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), 501);
  EXPECT_EQ(
      status_of(
          "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n" +
          std::string(30, ' ') + "\r\n0\r\n\r\n"),
      400);
  EXPECT_EQ(status_of("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, "
                      "chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
            501);
}

TEST_F(HttpTest, TargetsInEveryForm) {
  start_router();
  HttpClient client(router_->port());
  const auto get = [&](const std::string& target) { return client.request("GET", target); };
  EXPECT_EQ(get("http://x/version").status, 200) << "the absolute form, as a proxy's client has it";
  EXPECT_EQ(get("HTTP://x:80/v1/models?a=b").status, 200);
  EXPECT_EQ(get("http://x").status, 404);
  EXPECT_EQ(get("/v1/models/trireme%2Ddemo").status, 200);
  EXPECT_EQ(get("/v1/models/trireme%2demo").status, 404);
  EXPECT_EQ(get("/v1/models/trireme-demo%").status, 404);
  const auto message = [&](const std::string& target) {
    return parse(get(target).body)["error"]["message"].get<std::string>();
  };
  for (const char* target :
       {"/models", "/v1/models/", "//v1/models", "/v1/v1/models", "/models/"}) {
    EXPECT_NE(message(target).find("/v1/models"), std::string::npos) << target;
  }
  EXPECT_EQ(message("/metrics"), "there is no such route; metrics are on the admin port");
  EXPECT_EQ(message("/v1/nothing"), "there is no such route");
  for (const char* target : {"/", "/v1", "/v1/"}) {
    EXPECT_NE(message(target).find("GET /v1/models"), std::string::npos) << target;
  }
}

TEST_F(HttpTest, HugeBodies) {
  config_.limits.body_bytes = 1 << 20;
  start_router();
  {
    HttpClient client(router_->port());  // refused on its header alone
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n");
    EXPECT_EQ(client.read_reply().status, 413);
  }
  {
    HttpClient client(router_->port());  // all of it is sent before the answer is read
    const std::string megabyte(1 << 20, 'x');
    EXPECT_TRUE(client.send(
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n"));
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.send(megabyte)) << i;
    EXPECT_EQ(client.read_reply().status, 413);
  }
  {
    HttpClient client(router_->port());
    client.send(
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\nExpect: "
        "100-continue\r\n\r\n");
    EXPECT_EQ(client.read_reply().status, 413) << "nobody is told to go on";
  }
  {
    HttpClient client(router_->port());
    const std::string body = R"({"model":"nope","prompt":"x"})";
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(client.read_reply().status, 100);
    client.send(body);
    EXPECT_EQ(client.read_reply().status, 404);
  }
}

TEST_F(HttpTest, StrangersBodiesAreNotRead) {
  config_.keys = {{.name = "a", .sha256 = std::string(64, 'a')}};
  start_router();
  HttpClient client(router_->port());
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 401);
}

TEST_F(HttpTest, OldClientsAndHead) {
  start_router();
  TestReplica replica(replica_options());
  wait_ready(1);
  HttpClient old(router_->port());
  const std::string body = completion(3, R"("stream":true)");
  old.send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body);
  const auto head = old.read_head();
  EXPECT_EQ(head.status, 200);
  EXPECT_FALSE(head.headers.contains("transfer-encoding")) << "HTTP/1.0 knows no chunks";
  std::string text;
  for (std::string piece = old.read_some(60'000); !piece.empty(); piece = old.read_some(60'000))
    text += piece;
  EXPECT_TRUE(old.saw_end());
  EXPECT_TRUE(text.ends_with("data: [DONE]\n\n")) << text;
  HttpClient client(router_->port());
  client.send("HEAD /version HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.read_head().headers.at("content-length"), "19");
  EXPECT_EQ(client.read_reply().body, R"({"version":"0.1.0"})");
}

TEST_F(HttpTest, DeepJsonAndBrokenBodies) {
  start_router();
  for (const std::string& body :
       {R"({"prompt":)" + std::string(10'000, '[') + std::string(10'000, ']') + "}",
        std::string("{"), std::string(R"({"prompt":"a","temperature":1e400})"),
        std::string("{\"prompt\":\"\xff\"}")}) {
    HttpClient client(router_->port());
    const auto reply = client.request("POST", "/v1/completions", body);
    EXPECT_EQ(reply.status, 400);
    EXPECT_FALSE(parse(reply.body)["error"]["message"].get<std::string>().empty());
  }
}

TEST_F(HttpTest, AByteAtATimeIsCutOff) {
  config_.limits.header_timeout_ns = 600 * kMillisecondNs;
  config_.limits.body_timeout_ns = 600 * kMillisecondNs;
  start_router();
  for (const bool in_body : {false, true}) {
    HttpClient client(router_->port());
    if (in_body)
      client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    const int64_t begin_ns = clock_.now_ns();
    std::string got;
    for (int i = 0; i < 600 && got.empty() && !client.saw_end(); ++i) {
      client.send(in_body ? " " : "G");
      got = client.read_some(100);
    }
    EXPECT_TRUE(got.starts_with("HTTP/1.1 408")) << got;
    EXPECT_LT(clock_.now_ns() - begin_ns, 30 * kSecondNs);
  }
}

TEST_F(HttpTest, ConnectionsAreCapped) {
  config_.limits.connections = 5;
  start_router();
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<HttpClient>(router_->port()));
    EXPECT_EQ(clients.back()->request("GET", "/version").status, 200);
  }
  HttpClient sixth(router_->port());
  EXPECT_EQ(sixth.read_reply().status, 503);
  clients.pop_back();
  EXPECT_TRUE(eventually([&] {
    HttpClient again(router_->port());
    return again.request("GET", "/version").status == 200;
  }));
}

TEST_F(HttpTest, HangUpCancelsDuringPrefillAndStream) {
  start_router();
  auto options = replica_options();
  options.first_token_delay_ns = 60 * kSecondNs;
  TestReplica replica(options);
  wait_ready(1);
  {
    HttpClient client(router_->port());
    client.send(post("/v1/completions", completion(100, R"("stream":true)")));
    ASSERT_TRUE(eventually([&] { return replica.submits().size() == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return replica.cancels().size() == 1; }, 30'000))
      << "noticed while nothing is written";
  EXPECT_EQ(replica.cancels().at(0), replica.submits().at(0).request);
  replica.say_goodbye();

  auto quick = replica_options("replica-1", 2);
  quick.hold_at = 100;
  TestReplica streaming(quick);
  ASSERT_TRUE(eventually([&] {
    const Json replicas = get("/v1/pricing")["replicas"];
    return replicas.size() == 1 && replicas[0]["replica"] == "replica-1";
  }));
  {
    HttpClient client(router_->port());
    client.send(post("/v1/completions", completion(500, R"("stream":true,"n":3)")));
    EXPECT_EQ(client.read_head().status, 200);
    int n = 0;
    client.read_events([&](const std::string&) { return ++n < 10; });
    EXPECT_EQ(n, 10);
  }
  EXPECT_TRUE(eventually([&] { return streaming.cancels().size() == 3; }))
      << "each of n sequences is cancelled: " << streaming.cancels().size() << " of "
      << streaming.submits().size();
  EXPECT_TRUE(eventually([&] { return streaming.n_running() == 0; }));
}

TEST_F(HttpTest, AClientThatNeverReadsIsDropped) {
  config_.limits.slow_reader_bytes = 64 << 10;
  start_router();
  auto options = replica_options();
  options.token_interval_ns = 0;
  TestReplica replica(options);
  wait_ready(1);
  HttpClient client(router_->port(), 4096);
  client.send(post("/v1/completions", completion(400, R"("stream":true,"n":8,"logprobs":20)")));
  EXPECT_TRUE(eventually([&] { return !replica.cancels().empty(); }));
  EXPECT_TRUE(eventually([&] { return replica.n_running() == 0; }));
  HttpClient other(router_->port());
  EXPECT_EQ(other.request("GET", "/health").status, 200);
}

TEST_F(HttpTest, DrainFinishesStreamsAndTakesNoMore) {
  start_router();
  auto options = replica_options();
  options.hold_at = 50;  // the stream outlasts what is looked at while it drains
  TestReplica replica(options);
  wait_ready(1);
  HttpClient idle(router_->port());
  EXPECT_EQ(idle.request("GET", "/version").status, 200);
  HttpClient client(router_->port());
  client.send(post("/v1/completions", completion(100, R"("stream":true)")));
  EXPECT_EQ(client.read_head().status, 200);
  HttpClient admin(router_->admin_port());
  router_->drain();
  EXPECT_TRUE(eventually([&] {
    HttpClient refused(router_->port());
    return refused.request("GET", "/version").status == 0;
  }));
  EXPECT_EQ(admin.request("GET", "/readiness").status, 503);
  replica.release();
  const auto events = client.read_events();
  EXPECT_TRUE(client.saw_done());
  EXPECT_EQ(events.size(), 101U) << "every token, then the finish";
  thread_.join();  // run() returned by itself
}

TEST_F(HttpTest, DrainEndsInTimeWhateverRuns) {
  config_.router.drain_ns = 500 * kMillisecondNs;
  start_router();
  auto options = replica_options();
  options.hold_at = 1;  // for ever
  TestReplica replica(options);
  wait_ready(1);
  HttpClient client(router_->port());
  client.send(post("/v1/completions", completion(400, R"("stream":true)")));
  EXPECT_EQ(client.read_head().status, 200);
  router_->drain();
  const int64_t begin_ns = clock_.now_ns();
  thread_.join();
  EXPECT_LT(clock_.now_ns() - begin_ns, 30 * kSecondNs);
  const auto events = client.read_events();
  EXPECT_TRUE(client.saw_done());
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(parse(events.back())["error"]["code"], "draining");
}

TEST_F(HttpTest, PortTakenAndHostWithoutKeys) {
  start_router();
  ClusterConfig second = config_;
  second.router.port = router_->port();
  auto taken = Router::create(second, model_, {.handle_signals = false}, clock_);
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, ErrorCode::kAlreadyExists);
  EXPECT_NE(taken.error().message.find(std::to_string(router_->port())), std::string::npos);
  ClusterConfig open = config_;
  open.router.host = "0.0.0.0";
  const auto refused = Router::create(open, model_, {.handle_signals = false}, clock_);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("keys"), std::string::npos);
}

}  // namespace
}  // namespace trireme::router
