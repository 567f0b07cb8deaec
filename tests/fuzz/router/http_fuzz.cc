// Any bytes as a client's side of a connection, cut anywhere, against a writer that blocks
// anywhere.
//
// The first bytes steer (how the input is cut, how much can be written, when a held answer ends);
// the rest is what the client sends. Whatever it is: a handler sees requests within the limits
// alone, every answer is whole and begins with a status line, and when the client is gone nothing
// is left.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "router/http/connection.h"

namespace trireme::router {
namespace {

// A client in memory.
class FakeTransport final : public Transport {
 public:
  struct Wires {
    std::string in;        // not yet read by the connection
    size_t most_read = 1;  // bytes at a time
    size_t most_written = 1;
    bool blocked = false;  // every second write
    bool ended = false;    // the client sends nothing more
    bool closed = false;
    std::string out;
    Ready on_readable, on_writable;
    std::deque<std::function<void()>> posted;
  };
  explicit FakeTransport(std::shared_ptr<Wires> wires) : wires_(std::move(wires)) {}

  void handshake(Ready done) override {
    wires_->posted.push_back([done = std::move(done)] { done(true); });
  }
  void wait_readable(Ready ready) override {
    CHECK(!wires_->on_readable) << "two waits at once";
    wires_->on_readable = std::move(ready);
  }
  void wait_writable(Ready ready) override {
    CHECK(!wires_->on_writable) << "two waits at once";
    wires_->on_writable = std::move(ready);
  }
  IoResult read_now(char* data, size_t n_bytes) override {
    const size_t n = std::min({n_bytes, wires_->most_read, wires_->in.size()});
    if (n == 0) return {wires_->ended ? IoState::kEnd : IoState::kWouldBlock};
    wires_->in.copy(data, n);
    wires_->in.erase(0, n);
    return {IoState::kOk, n};
  }
  IoResult write_now(const char* data, size_t n_bytes) override {
    wires_->blocked = !wires_->blocked;
    if (wires_->blocked) return {IoState::kWouldBlock};
    const size_t n = std::min(n_bytes, wires_->most_written);
    wires_->out.append(data, n);
    return {IoState::kOk, n};
  }
  void shutdown_send() override {}
  void close() override {
    wires_->closed = true;
    for (Ready* ready : {&wires_->on_readable, &wires_->on_writable}) {
      if (!*ready) continue;
      wires_->posted.push_back([ready = std::exchange(*ready, {})] { ready(false); });
    }
  }

 private:
  std::shared_ptr<Wires> wires_;
};

constexpr HttpLimits kLimits = {.body_bytes = 256,
                                .header_bytes = 512,
                                .header_count = 8,
                                .connections = 1,
                                .all_bodies_bytes = 200,
                                .slow_reader_bytes = 2048,
                                .header_timeout_ns = 1000,
                                .body_timeout_ns = 1000,
                                .idle_timeout_ns = 1000};

class Client {
 public:
  Client(const uint8_t* data, size_t size) : wires_(std::make_shared<FakeTransport::Wires>()) {
    wires_->most_read = 1 + data[0];
    wires_->most_written = 1 + data[1] * 8u;
    mode_ = data[2];
    input_.assign(reinterpret_cast<const char*>(data) + 3, size - 3);
    context_ = std::make_shared<ConnectionContext>(
        ConnectionContext{clock_, kLimits, CorsPolicy({"http://a"}),
                          [this](std::shared_ptr<Exchange> exchange) { handle(exchange); },
                          [](const HttpRequest&) { return std::optional<HttpResponse>(); },
                          [this](std::function<void()> task) { post(std::move(task)); },
                          [this](Connection*) { connection_.reset(); }});
    connection_ = std::make_shared<Connection>(context_, std::make_unique<FakeTransport>(wires_));
    connection_->start();
  }

  void run() {
    while (!input_.empty() && connection_) {
      const size_t n = std::min<size_t>(input_.size(), 1 + mode_ % 64u);
      wires_->in += input_.substr(0, n);
      input_.erase(0, n);
      turn();
    }
    // Whoever is late is told so; then the client hangs up.
    clock_.advance_ns(2000);
    if (const auto connection = connection_) connection->tick(clock_.now_ns());
    turn();
    wires_->ended = true;
    turn();
    clock_.advance_ns(10'000'000'000);
    if (const auto connection = connection_) connection->tick(clock_.now_ns());
    turn();
    CHECK(!connection_) << "a connection outlives its client";
    for (const auto& exchange : held_) exchange->respond({.body = "late"});
    CHECK_EQ(context_->body_bytes_held, 0);
    CHECK(wires_->out.empty() || wires_->out.starts_with("HTTP/1.1 ")) << wires_->out;
  }

 private:
  void post(std::function<void()> task) { wires_->posted.push_back(std::move(task)); }

  void handle(const std::shared_ptr<Exchange>& exchange) {
    const HttpRequest& request = exchange->request();
    CHECK_LE(static_cast<int64_t>(request.headers.size()), kLimits.header_count);
    CHECK_LE(static_cast<int64_t>(request.body.size()), kLimits.body_bytes);
    CHECK(!request.method.empty());
    for (const auto& [name, value] : request.headers) {
      CHECK(name.find_first_of("\r\n:") == std::string::npos) << name;
      CHECK(value.find_first_of("\r\n") == std::string::npos) << value;
    }
    exchange->set_on_hang_up([](HangUp) {});
    switch (mode_ / 64) {
      case 0:
        return exchange->respond({.body = request.body});
      case 1:
        held_.push_back(exchange);
        return post([exchange] { exchange->respond({.status = 404, .body = "{}"}); });
      case 2:
        exchange->start_stream({{"X-One", "1"}});
        exchange->pending() += "data: one\n\n";
        exchange->flush();
        return post([exchange] {
          exchange->pending() += std::string(1500, 'x');
          exchange->flush();
          exchange->pending() += std::string(1500, 'y');
          exchange->flush();
          exchange->end_stream();
        });
      default:
        held_.push_back(exchange);  // never answered while the client is there
    }
  }

  // What is ready happens, until nothing is.
  void turn() {
    for (int round = 0; round < 10'000; ++round) {
      if (!wires_->posted.empty()) {
        const auto task = std::move(wires_->posted.front());
        wires_->posted.pop_front();
        task();
      } else if (wires_->on_writable && !wires_->closed) {
        std::exchange(wires_->on_writable, {})(true);
      } else if (wires_->on_readable && (!wires_->in.empty() || wires_->ended)) {
        std::exchange(wires_->on_readable, {})(true);
      } else {
        return;
      }
    }
    CHECK(false) << "it never comes to rest";
  }

  ManualClock clock_;
  std::shared_ptr<FakeTransport::Wires> wires_;
  uint8_t mode_ = 0;
  std::string input_;
  std::vector<std::shared_ptr<Exchange>> held_;
  std::shared_ptr<ConnectionContext> context_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace
}  // namespace trireme::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  trireme::router::Client(data, size).run();
  return 0;
}
