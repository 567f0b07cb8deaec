// Routers and replicas over real sockets: keys, garbage, floods, restarts.
#include <gtest/gtest.h>
#include <poll.h>
#include <zmq.h>

#include <chrono>
#include <functional>
#include <thread>

#include "parallel/wire/curve_keys.h"
#include "parallel/wire/endpoints.h"

namespace trireme::wire {
namespace {

using namespace std::chrono_literals;

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = 60s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(2ms);
  }
  return condition();
}

Hello hello_of(const std::string& replica) {
  Hello hello;
  hello.replica = replica;
  hello.model = "demo";
  hello.epoch = 7;
  return hello;
}

struct Keys {
  CurveServer server;
  CurveClient client;
};

Keys make_keys() {
  const CurvePair server = make_curve_pair().value();
  const CurvePair client = make_curve_pair().value();
  return {{server.public_key, server.secret_key, {client.public_key}},
          {server.public_key, client.public_key, client.secret_key}};
}

std::unique_ptr<RouterEndpoint> bind_any(const std::optional<CurveServer>& curve = {},
                                         const LinkOptions& options = {}) {
  return std::move(RouterEndpoint::bind("tcp://127.0.0.1:*", curve, options)).value();
}

std::unique_ptr<ReplicaEndpoint> dial(const std::string& address,
                                      const std::optional<CurveClient>& curve = {},
                                      const LinkOptions& options = {}) {
  return std::move(ReplicaEndpoint::connect(address, curve, options)).value();
}

// Says hello until the router hears it; the peer that it then knows.
std::optional<PeerId> introduce(ReplicaEndpoint& replica, RouterEndpoint& router,
                                std::chrono::milliseconds limit = 60s) {
  std::optional<PeerId> peer;
  eventually(
      [&] {
        if (auto message = router.receive(); message.has_value()) {
          peer = message->peer;
          return true;
        }
        (void)replica.send(hello_of("replica-0"));
        return false;
      },
      limit);
  while (router.receive().has_value()) {
  }
  return peer;
}

// A raw socket: a peer that does not keep our rules.
class RawDealer {
 public:
  RawDealer(const std::string& address, const std::optional<CurveClient>& curve)
      : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
    const int linger = 0;
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof(linger));
    if (curve.has_value()) {
      zmq_setsockopt(socket_, ZMQ_CURVE_SERVERKEY, curve->server_key.c_str(), 41);
      zmq_setsockopt(socket_, ZMQ_CURVE_PUBLICKEY, curve->public_key.c_str(), 41);
      zmq_setsockopt(socket_, ZMQ_CURVE_SECRETKEY, curve->secret_key.c_str(), 41);
    }
    EXPECT_EQ(zmq_connect(socket_, address.c_str()), 0);
  }
  ~RawDealer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  void send(const std::string& bytes, bool more = false) {
    EXPECT_GE(zmq_send(socket_, bytes.data(), bytes.size(), more ? ZMQ_SNDMORE : 0), 0);
  }

 private:
  void* context_;
  void* socket_;
};

TEST(Endpoints, MessagesGoBothWaysUnderCurve) {
  const Keys keys = make_keys();
  const auto router = bind_any(keys.server);
  const auto replica = dial(router->address(), keys.client);
  const auto peer = introduce(*replica, *router);
  ASSERT_TRUE(peer.has_value());
  ASSERT_TRUE(router->send(*peer, Welcome{.router_epoch = 42, .router = "router-0"}).ok());
  std::optional<FromRouter> answer;
  ASSERT_TRUE(eventually([&] { return (answer = replica->receive()).has_value(); }));
  EXPECT_EQ(std::get<Welcome>(*answer).router_epoch, 42u);
}

TEST(Endpoints, AnotherVersionInTheHelloReachesTheCaller) {
  const auto router = bind_any();
  const auto replica = dial(router->address());
  Hello hello = hello_of("replica-9");
  hello.major = 99;
  std::optional<FromReplicaMessage> heard;
  ASSERT_TRUE(eventually([&] {
    heard = router->receive();
    return heard.has_value() || !replica->send(hello).ok() ? heard.has_value() : false;
  }));
  EXPECT_EQ(std::get<Hello>(heard->message).major, 99u);
  ASSERT_TRUE(router->send(heard->peer, Refused{"protocol 99.0 is not 1.x"}).ok());
  std::optional<FromRouter> answer;
  ASSERT_TRUE(eventually([&] { return (answer = replica->receive()).has_value(); }));
  EXPECT_EQ(std::get<Refused>(*answer).reason, "protocol 99.0 is not 1.x");
}

TEST(Endpoints, WrongAndMissingKeysGetNoWordThrough) {
  const Keys keys = make_keys();
  const auto router = bind_any(keys.server);
  Keys strangers = make_keys();
  CurveClient not_on_the_list = strangers.client;
  not_on_the_list.server_key = keys.server.public_key;
  CurveClient wrong_server = keys.client;
  wrong_server.server_key = strangers.server.public_key;
  const std::optional<CurveClient> bad[] = {not_on_the_list, wrong_server, std::nullopt};
  for (const auto& client : bad) {
    const auto replica = dial(router->address(), client);
    EXPECT_FALSE(introduce(*replica, *router, 300ms).has_value());
    EXPECT_FALSE(replica->receive().has_value());
  }
  // And the right one still gets in afterwards.
  const auto replica = dial(router->address(), keys.client);
  EXPECT_TRUE(introduce(*replica, *router).has_value());
}

TEST(Endpoints, AKeyThatIsNoKeyIsASentence) {
  const Keys keys = make_keys();
  CurveServer server = keys.server;
  server.secret_key = "short";
  EXPECT_EQ(RouterEndpoint::bind("tcp://127.0.0.1:*", server, {}).error().code,
            ErrorCode::kInvalidArgument);
  server = keys.server;
  server.allowed_clients.push_back("nonsense");
  EXPECT_EQ(RouterEndpoint::bind("tcp://127.0.0.1:*", server, {}).error().code,
            ErrorCode::kInvalidArgument);
  CurveClient client = keys.client;
  client.server_key = std::string(40, '\x01');
  EXPECT_EQ(ReplicaEndpoint::connect("tcp://127.0.0.1:1", client, {}).error().code,
            ErrorCode::kInvalidArgument);
}

TEST(Endpoints, GarbageFramesAreDroppedAndCounted) {
  const Keys keys = make_keys();
  const auto router = bind_any(keys.server);
  RawDealer raw(router->address(), keys.client);
  raw.send("garbage");
  raw.send("");
  raw.send("two", true);
  raw.send("parts");
  raw.send(std::string(100'000, '\xff'));
  std::optional<FromReplicaMessage> heard;
  EXPECT_TRUE(eventually([&] {
    heard = router->receive();
    return heard.has_value() || router->n_rejected_frames() == 4;
  }));
  EXPECT_FALSE(heard.has_value());
  EXPECT_EQ(router->n_rejected_frames(), 4);
  const auto replica = dial(router->address(), keys.client);
  EXPECT_TRUE(introduce(*replica, *router).has_value());
}

TEST(Endpoints, AnOversizeFrameCutsItsSenderOff) {
  const auto router = bind_any({}, {.max_message_bytes = 4096});
  RawDealer raw(router->address(), {});
  raw.send(std::string(8192, 'x'));
  EXPECT_FALSE(eventually([&] { return router->receive().has_value(); }, 300ms));
  EXPECT_EQ(router->n_rejected_frames(), 0);  // it never became a frame
  const auto replica = dial(router->address());
  EXPECT_TRUE(introduce(*replica, *router).has_value());
}

TEST(Endpoints, ATakenPortIsASentence) {
  const auto router = bind_any();
  const auto second = RouterEndpoint::bind(router->address(), {}, {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kAlreadyExists);
  EXPECT_NE(second.error().message.find("taken"), std::string::npos);
  EXPECT_EQ(RouterEndpoint::bind("tcp://192.0.2.1:7000", {}, {}).error().code,
            ErrorCode::kFailedPrecondition);
  EXPECT_EQ(RouterEndpoint::bind("here", {}, {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ReplicaEndpoint::connect("there", {}, {}).error().code, ErrorCode::kInvalidArgument);
}

TEST(Endpoints, SendingToNobodyIsUnavailable) {
  const auto router = bind_any();
  EXPECT_EQ(router->send("nobody", HelloAgain{}).error().code, ErrorCode::kUnavailable);
  const auto replica = dial("tcp://127.0.0.1:1");
  EXPECT_EQ(replica->send(hello_of("r")).error().code, ErrorCode::kUnavailable);
}

TEST(Endpoints, WhatBreaksALimitIsTheSendersError) {
  const auto router = bind_any();
  const auto replica = dial(router->address());
  const auto peer = introduce(*replica, *router);
  ASSERT_TRUE(peer.has_value());
  EXPECT_EQ(router->send(*peer, Submit{}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(replica->send(Hello{}).error().code, ErrorCode::kInvalidArgument);
}

TEST(Endpoints, AReaderThatDoesNotReadIsAnErrorNotAWait) {
  const LinkOptions narrow{.high_water_mark = 10};
  const auto router = bind_any({}, narrow);
  const auto replica = dial(router->address(), {}, narrow);
  const auto peer = introduce(*replica, *router);
  ASSERT_TRUE(peer.has_value());
  Submit submit;
  submit.tokens.assign(20'000, 100'000);
  submit.n_prompt = 1;
  Status status;
  // Socket buffers take some megabytes before the high-water mark counts.
  for (int i = 0; i < 1000 && status.ok(); ++i) status = router->send(*peer, submit);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  // Once it reads again, sending works again.
  EXPECT_TRUE(eventually([&] {
    while (replica->receive().has_value()) {
    }
    status = router->send(*peer, RouterHeartbeat{1});
    return status.ok();
  })) << status.error().message;
}

TEST(Endpoints, AReplicaFindsARouterThatCameBackOnItsPort) {
  const Keys keys = make_keys();
  auto router = bind_any(keys.server);
  const std::string address = router->address();
  const auto replica = dial(address, keys.client);
  ASSERT_TRUE(introduce(*replica, *router).has_value());
  router.reset();
  EXPECT_TRUE(eventually([&] { return !replica->send(hello_of("replica-0")).ok(); }));
  // Its port is free for a moment, which another process may use too.
  EXPECT_TRUE(eventually([&] {
    auto bound = RouterEndpoint::bind(address, keys.server, {});
    if (bound.ok()) router = std::move(*bound);
    return bound.ok();
  }));
  ASSERT_NE(router, nullptr);
  const auto peer = introduce(*replica, *router);
  ASSERT_TRUE(peer.has_value());
  ASSERT_TRUE(router->send(*peer, HelloAgain{}).ok());
  std::optional<FromRouter> answer;
  ASSERT_TRUE(eventually([&] { return (answer = replica->receive()).has_value(); }));
  EXPECT_TRUE(std::holds_alternative<HelloAgain>(*answer));
}

TEST(Endpoints, TheDescriptorWakesAPoll) {
  const auto router = bind_any();
  const auto replica = dial(router->address());
  ASSERT_TRUE(introduce(*replica, *router).has_value());
  ASSERT_TRUE(replica->send(Heartbeat{.epoch = 3}).ok());
  bool heard = false;
  for (int i = 0; i < 100 && !heard; ++i) {
    heard = router->receive().has_value();
    pollfd item{router->event_fd(), POLLIN, 0};
    if (!heard) {
      ASSERT_EQ(::poll(&item, 1, 60'000), 1);
    }
  }
  EXPECT_TRUE(heard);
}

TEST(Endpoints, TwoRoutersInOneProcessKeepTheirOwnLists) {
  const Keys a = make_keys();
  const Keys b = make_keys();
  const auto router_a = bind_any(a.server);
  const auto router_b = bind_any(b.server);
  const auto replica_a = dial(router_a->address(), a.client);
  const auto replica_b = dial(router_b->address(), b.client);
  EXPECT_TRUE(introduce(*replica_a, *router_a).has_value());
  EXPECT_TRUE(introduce(*replica_b, *router_b).has_value());
}

}  // namespace
}  // namespace trireme::wire
