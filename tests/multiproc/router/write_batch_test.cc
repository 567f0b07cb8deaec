// Streams whose chunks are written as one batch: each client sees its own bytes, whole and in
// order, whatever happened to it meanwhile.
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "router/http/server.h"
#include "tests/support/router/http_client.h"

namespace trireme::router {
namespace {

using testing::HttpClient;

constexpr int kClients = 40;

class WriteBatchTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    HttpServerOptions options;
    options.n_writers = GetParam();
    options.limits.slow_reader_bytes = 256 << 10;
    auto server =
        HttpServer::listen(loop_, clock_, options, [this](std::shared_ptr<Exchange> exchange) {
          const auto i = static_cast<size_t>(std::stoi(exchange->request().path.substr(1)));
          if (exchanges_.contains(i)) return exchange->respond({.body = "again"});
          exchange->set_on_hang_up([this, i](HangUp why) { hang_ups_[i] = why; });
          exchange->start_stream({});
          exchanges_[i] = std::move(exchange);
        });
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
    thread_ = std::thread([this] { loop_.run(); });
    for (int i = 0; i < kClients; ++i) {
      clients_.push_back(std::make_unique<HttpClient>(server_->port(), 4096));
      clients_.back()->send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    while (on_loop([this] { return static_cast<int>(exchanges_.size()); }) < kClients) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  void TearDown() override {
    loop_.stop();
    thread_.join();
  }

  template <typename F>
  auto on_loop(F what) -> decltype(what()) {
    std::packaged_task<decltype(what())()> task(what);
    auto result = task.get_future();
    loop_.post([&task] { task(); });
    return result.get();
  }
  // What `each` does to every exchange, within one batch.
  void batch(const std::function<void(size_t, Exchange&)>& each) {
    on_loop([&] {
      server_->begin_write_batch();
      for (auto& [i, exchange] : exchanges_) each(i, *exchange);
      server_->end_write_batch();
    });
  }

  const SystemClock clock_;
  EventLoop loop_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  std::map<size_t, std::shared_ptr<Exchange>> exchanges_;
  std::map<size_t, HangUp> hang_ups_;
  std::vector<std::unique_ptr<HttpClient>> clients_;
};

TEST_P(WriteBatchTest, OneFlushSeveralFlushesAndAnEnd) {
  for (int round = 0; round < 20; ++round) {
    batch([&](size_t i, Exchange& exchange) {
      const std::string text = "data: " + std::to_string(i) + " " + std::to_string(round);
      exchange.pending() += text + "\n\n";
      exchange.flush();
      if (i % 2 == 0) return;
      exchange.pending() += text + " more\n\n";
      exchange.flush();
      exchange.flush();  // with nothing to write
    });
  }
  batch([&](size_t i, Exchange& exchange) {
    exchange.pending() += "data: last\n\n";
    if (i % 3 == 0) exchange.flush();
    exchange.pending() += "data: [DONE]\n\n";
    exchange.end_stream();
  });
  for (size_t i = 0; i < clients_.size(); ++i) {
    std::string expected;
    for (int round = 0; round < 20; ++round) {
      const std::string text = "data: " + std::to_string(i) + " " + std::to_string(round);
      expected += text + "\n\n";
      if (i % 2 == 1) expected += text + " more\n\n";
    }
    EXPECT_EQ(clients_[i]->read_reply().body, expected + "data: last\n\ndata: [DONE]\n\n") << i;
    // The connection is in order for the next request.
    clients_[i]->send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(clients_[i]->read_reply().body, "again");
  }
}

TEST_P(WriteBatchTest, ClientsThatLeaveOrDoNotReadHarmNobodyElse) {
  for (size_t i = 0; i < clients_.size(); i += 4) clients_[i]->close();
  const std::string big(20'000, 'y');
  // Every fourth client's share exceeds what the kernel and the limit hold for it.
  for (int round = 0; round < 400; ++round) {
    batch([&](size_t i, Exchange& exchange) {
      exchange.pending() += i % 4 == 1 ? "data: " + big + "\n\n" : "data: x\n\n";
      exchange.flush();
    });
  }
  batch([](size_t, Exchange& exchange) { exchange.end_stream(); });
  std::string small;
  for (int round = 0; round < 400; ++round) small += "data: x\n\n";
  for (size_t i = 0; i < clients_.size(); ++i) {
    if (i % 4 < 2) continue;
    EXPECT_EQ(clients_[i]->read_reply().body, small) << i;
  }
  const auto seen = on_loop([this] { return hang_ups_; });
  for (size_t i = 0; i < clients_.size(); ++i) {
    ASSERT_EQ(seen.contains(i), i % 4 < 2) << i;
    if (i % 4 >= 2) continue;
    EXPECT_EQ(seen.at(i), i % 4 == 0 ? HangUp::kClosed : HangUp::kSlowReader);
  }
}

INSTANTIATE_TEST_SUITE_P(Writers, WriteBatchTest, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace trireme::router
