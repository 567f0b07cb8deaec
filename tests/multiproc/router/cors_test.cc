// What a browser sees of the API: preflights, answers, streams and errors of every layer.
#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

using testing::HttpClient;
using testing::HttpReply;

// configs/keys_limits_prices.yaml: the key is "trireme-example-alice".
const KeyConfig kAlice{
    .name = "alice", .sha256 = "0ea8a3d5bf2eecc55faec687b0318fa8b0cf5e91c854d5e72e231b9db8ac6e5e"};

class CorsTest : public RouterFixture {
 protected:
  static constexpr const char* kPage = "Origin: https://chat.example\r\n";
  static constexpr const char* kAsks =
      "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization,content-type\r\n";

  void allow(std::vector<std::string> origins) {
    config_.router.allowed_origins = std::move(origins);
  }
  HttpReply request(const std::string& method, const std::string& path, const std::string& body,
                    const std::string& headers) const {
    return HttpClient(router_->port()).request(method, path, body, headers);
  }
  static void expect_open(const HttpReply& reply,
                          const std::string& origin = "https://chat.example") {
    ASSERT_TRUE(reply.headers.contains("access-control-allow-origin")) << reply.status;
    EXPECT_EQ(reply.headers.at("access-control-allow-origin"), origin);
    EXPECT_NE(reply.headers.at("access-control-expose-headers").find("x-request-id"),
              std::string::npos);
    EXPECT_TRUE(reply.headers.contains("vary"));
  }
  static void expect_closed(const HttpReply& reply) {
    for (const auto& [name, value] : reply.headers) {
      EXPECT_FALSE(name.starts_with("access-control")) << name << ": " << value;
    }
  }
};

TEST_F(CorsTest, OffByDefault) {
  start_router();
  expect_closed(request("GET", "/v1/models", "", kPage));
  const HttpReply asked = request("OPTIONS", "/v1/chat/completions", "", kAsks);
  EXPECT_EQ(asked.status, 405);
  EXPECT_NE(asked.body.find("router.allowed_origins"), std::string::npos);
  expect_closed(asked);
}

TEST_F(CorsTest, PreflightsNeedNoKeyAndPagesThatAreNotListedGetNone) {
  allow({"https://chat.example"});
  config_.keys = {kAlice};
  start_router();
  HttpClient client(router_->port());
  client.send(std::string("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\n") + kAsks + "\r\n");
  const HttpReply asked = client.read_head();
  EXPECT_EQ(asked.status, 204);
  expect_open(asked);
  EXPECT_EQ(asked.headers.at("access-control-allow-headers"), "authorization,content-type");
  EXPECT_EQ(asked.headers.at("access-control-max-age"), "600");
  EXPECT_FALSE(asked.headers.contains("content-length")) << "RFC 9110, 8.6";
  EXPECT_FALSE(asked.headers.contains("content-type"));
  // The same connection goes on: nothing of the answer's body was waited for.
  expect_open(
      client.request("GET", "/v1/models", "",
                     std::string(kPage) + "Authorization: Bearer trireme-example-alice\r\n"));
  const HttpReply refused = request("OPTIONS", "/v1/models", "",
                                    "Origin: https://evil.example\r\n"
                                    "Access-Control-Request-Method: GET\r\n");
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(parse(refused.body)["error"]["code"], "origin_not_allowed");
  expect_closed(refused);
  const HttpReply stranger = request("GET", "/liveness", "", "Origin: https://evil.example\r\n");
  EXPECT_EQ(stranger.status, 200) << "CORS protects the browser's user, keys protect the server";
  EXPECT_EQ(stranger.headers.at("vary"), "Origin");
  expect_closed(stranger);
}

TEST_F(CorsTest, ErrorsOfEveryLayerCanBeRead) {
  allow({"https://chat.example"});
  config_.keys = {kAlice};
  config_.limits.body_bytes = 4096;
  start_router();
  const std::string mine = std::string(kPage) + "Authorization: Bearer trireme-example-alice\r\n";
  const HttpReply unknown = request("GET", "/v1/models", "", kPage);
  EXPECT_EQ(unknown.status, 401);
  expect_open(unknown);
  const HttpReply no_route = request("GET", "/nothing", "", mine);
  EXPECT_EQ(no_route.status, 404);
  expect_open(no_route);
  const HttpReply broken = request("POST", "/v1/completions", "{", mine);
  EXPECT_EQ(broken.status, 400);
  expect_open(broken);
  const HttpReply large = request("POST", "/v1/completions", std::string(5000, 'x'), mine);
  EXPECT_EQ(large.status, 413);
  expect_open(large);
  const HttpReply zipped =
      request("POST", "/v1/completions", "x", mine + "Content-Encoding: gzip\r\n");
  EXPECT_EQ(zipped.status, 415);
  expect_open(zipped);
}

TEST_F(CorsTest, AnswersAndStreamsOfEveryPage) {
  allow({"*"});
  start_router();
  testing::TestReplica replica(replica_options());
  wait_ready(1);
  const std::string body = R"({"prompt":[5],"max_tokens":2,"ignore_eos":true)";
  const HttpReply whole = request("POST", "/v1/completions", body + "}", kPage);
  EXPECT_EQ(whole.status, 200);
  expect_open(whole, "*");
  HttpClient client(router_->port());
  client.send(testing::post("/v1/completions", body + R"(,"stream":true})", kPage));
  const HttpReply head = client.read_head();
  EXPECT_EQ(head.status, 200);
  expect_open(head, "*");
  EXPECT_FALSE(client.read_events().empty());
  EXPECT_TRUE(client.saw_done());
}

TEST_F(CorsTest, NeverOnTheAdminPort) {
  allow({"*"});
  start_router();
  HttpClient admin(router_->admin_port());
  expect_closed(admin.request("GET", "/metrics", "", kPage));
  const HttpReply asked = admin.request("OPTIONS", "/metrics", "", kAsks);
  EXPECT_EQ(asked.status, 405);
  expect_closed(asked);
}

}  // namespace
}  // namespace trireme::router
