// Heads that two readers could read in two ways, over raw sockets.
#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

using testing::HttpClient;
using testing::HttpReply;

class HeadTest : public RouterFixture {
 protected:
  HttpReply reply_to(const std::string& bytes) const {
    HttpClient client(router_->port());
    client.send(bytes);
    return client.read_reply();
  }
  // Refused, in OpenAI's words, and nothing behind the head is read as another request.
  void expect_refused(const std::string& head, const std::string& body = "") const {
    HttpClient client(router_->port());
    client.send(head + body + "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    const HttpReply reply = client.read_reply();
    EXPECT_EQ(reply.status, 400) << head;
    EXPECT_EQ(parse(reply.body)["error"]["type"], "invalid_request_error") << reply.body;
    EXPECT_FALSE(parse(reply.body)["error"]["message"].get<std::string>().empty());
    EXPECT_EQ(client.read_reply().status, 0) << head;
    EXPECT_TRUE(client.saw_end());
  }
};

TEST_F(HeadTest, AHostIsNeededOnce) {
  start_router();
  const std::string get = "GET /version HTTP/1.1\r\n";
  EXPECT_EQ(reply_to(get + "Host: x\r\n\r\n").status, 200);
  EXPECT_EQ(reply_to(get + "hOST:\tx:80 \r\n\r\n").status, 200);
  EXPECT_EQ(reply_to(get + "Host:\r\n\r\n").status, 200) << "RFC 9112, 3.2: empty is allowed";
  EXPECT_EQ(reply_to("GET /version HTTP/1.0\r\n\r\n").status, 200);
  expect_refused(get + "\r\n");
  expect_refused(get + "Accept: */*\r\n\r\n");
  expect_refused(get + "Host: x\r\nHost: x\r\n\r\n");
  expect_refused(get + "Host: x\r\nAccept: */*\r\nhost: y\r\n\r\n");
  expect_refused(get + "Host: a b\r\n\r\n");
  expect_refused(get + "Host: user@x\r\n\r\n");
  expect_refused(get + "Host : x\r\n\r\n");
  expect_refused("GET http://x/version HTTP/1.1\r\n\r\n");
}

TEST_F(HeadTest, AnAdminRequestNeedsOneToo) {
  start_router();
  HttpClient client(router_->admin_port());
  client.send("GET /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 400);
}

TEST_F(HeadTest, LengthsThatContradict) {
  start_router();
  const std::string head = "POST /tokenize HTTP/1.1\r\nHost: x\r\n";
  const std::string body = R"({"prompt":"a"})";
  const std::string n = std::to_string(body.size());
  EXPECT_EQ(reply_to(head + "Content-Length: " + n + "\r\n\r\n" + body).status, 200);
  EXPECT_EQ(
      reply_to(head + "Transfer-Encoding: chunked\r\n\r\ne\r\n" + body + "\r\n0\r\n\r\n").status,
      200);
  for (const std::string& lengths : std::vector<std::string>{
           "Content-Length: " + n + "\r\nContent-Length: 3",
           "Content-Length: 3\r\nContent-Length: " + n,
           "Content-Length: " + n + "\r\nContent-Length: " + n,
           "Content-Length: " + n + ", " + n,
           "Content-Length: " + n + ", 3",
           "Content-Length: +" + n,
           "Content-Length: -1",
           "Content-Length: 0x0e",
           "Content-Length: 1 4",
           "Content-Length: 14 a",
           "Content-Length:",
           "Content-Length: 99999999999999999999",
           "Content-Length: " + n + "\r\nTransfer-Encoding: chunked",
           "Transfer-Encoding: chunked\r\nContent-Length: " + n,
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
       }) {
    expect_refused(head + lengths + "\r\n\r\n", body);
  }
  expect_refused("POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                 "e\r\n" + body + "\r\n0\r\n\r\n");
}

TEST_F(HeadTest, BrokenLinesAndChunks) {
  start_router();
  const std::string chunked =
      "POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  expect_refused(chunked, "zz\r\n");
  expect_refused(chunked, "-1\r\n");
  expect_refused(chunked, "ffffffffffffffffff\r\n");
  expect_refused(chunked, "2\r\n{}X\r\n0\r\n\r\n");
  EXPECT_EQ(reply_to("GET /version HTTP/1.1\nHost: x\n\n").status, 505)
      << "a bare line feed is a part of the version";
  expect_refused("GET /version HTTP/1.1\r\nHost: x\r\nA\r\n\r\n");
  expect_refused("GET /version HTTP/1.1\r\nHost: x\r\nA: b" + std::string(1, '\0') + "c\r\n\r\n");
  expect_refused("GET  /version HTTP/1.1\r\nHost: x\r\n\r\n");
  expect_refused("GET /version\r\n\r\n");
}

}  // namespace
}  // namespace trireme::router
