// The coordinator's loop between a real router endpoint and ranks that are made up.
#include "coordinator/replica_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "parallel/step/step_link.h"
#include "parallel/wire/endpoints.h"

namespace trireme::coordinator {
namespace {

constexpr int64_t kRankDeadNs = 2 * kSecondNs;

// The machine's clock, moved ahead at will: what a process sees that was stopped for a while.
class SkewedClock final : public Clock {
 public:
  int64_t now_ns() const override { return clock_.now_ns() + ahead_ns; }
  int64_t unix_ns() const override { return clock_.unix_ns() + ahead_ns; }
  std::atomic<int64_t> ahead_ns{0};

 private:
  SystemClock clock_;
};

class ReplicaLoopTest : public ::testing::Test {
 protected:
  void start() {
    router_ = std::move(wire::RouterEndpoint::bind("tcp://127.0.0.1:*", {}, {})).value();
    const std::string address = router_->address();
    ReplicaLoopOptions options;
    options.config.model.path = TRIREME_SOURCE_DIR "/configs/models/trireme-demo";
    options.config.model.served_name = "trireme-demo";
    options.config.router.wire_host = "127.0.0.1";
    options.config.router.wire_port = std::stoi(address.substr(address.rfind(':') + 1));
    options.config.router.heartbeat_ns = 50 * kMillisecondNs;
    options.config.scheduler.rank_dead_ns = kRankDeadNs;
    options.epoch = 1;
    options.spec = plan::load_model_spec(options.config.model.path).value();
    options.plan = plan::make_parallel_plan(options.spec, {.tp = 1, .pp = 1}).value();
    auto loop = ReplicaLoop::create(std::move(options), clock_, *links_.coordinator, metrics_);
    ASSERT_TRUE(loop.ok()) << loop.error().message;
    loop_ = std::move(*loop);
    thread_ = std::thread([this] { ended_ = loop_->run(); });
    ASSERT_TRUE(links_.ranks[0]->send(step::RankReady{.worker_rank = 0, .n_kv_blocks = 100}).ok());
    warm_up();
  }

  // The rank's part in the step that comes before the first request.
  void warm_up() {
    while (true) {
      const auto command = links_.ranks[0]->receive();
      ASSERT_TRUE(command.ok()) << command.error().message;
      const auto* plan = std::get_if<step::StepPlan>(&*command);
      if (plan == nullptr) continue;
      step::StepResult result;
      result.header = plan->header;
      result.outputs.push_back({.id = plan->spans.at(0).id, .token = 7});
      ASSERT_TRUE(links_.ranks[0]->send(std::move(result)).ok());
      return;
    }
  }

  void TearDown() override {
    links_.ranks.clear();  // ends the loop
    if (thread_.joinable()) thread_.join();
  }

  // The peer that says hello, whatever else it says before.
  std::optional<wire::PeerId> next_hello(std::chrono::seconds limit = std::chrono::seconds(60)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      const auto message = router_->receive();
      if (!message.has_value()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      } else if (std::holds_alternative<wire::Hello>(message->message)) {
        return message->peer;
      } else {
        // As a router does with a peer that it does not know.
        (void)router_->send(message->peer, wire::HelloAgain{});
      }
    }
    return std::nullopt;
  }

  SkewedClock clock_;
  MetricsRegistry metrics_;
  step::InprocLinks links_ = step::make_inproc_links(1);
  std::unique_ptr<wire::RouterEndpoint> router_;
  std::unique_ptr<ReplicaLoop> loop_;
  std::thread thread_;
  Status ended_;
};

TEST_F(ReplicaLoopTest, OneThatWasStoppedSaysNothingUntilItsRanksHadTimeToBeMissed) {
  start();
  const auto peer = next_hello();
  ASSERT_TRUE(peer.has_value());
  const SystemClock real;
  const int64_t stopped_ns = real.now_ns();
  clock_.ahead_ns = 10 * kSecondNs;
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the loop has come round
  while (router_->receive().has_value()) {
  }
  ASSERT_TRUE(router_->send(*peer, wire::HelloAgain{}).ok());
  EXPECT_TRUE(next_hello().has_value());
  EXPECT_GE(real.now_ns() - stopped_ns, kRankDeadNs);
  // Stopped once more, and this time its rank has ended: it ends without another hello.
  clock_.ahead_ns = 20 * kSecondNs;
  links_.ranks[0].reset();
  thread_.join();
  EXPECT_FALSE(ended_.ok());
}

}  // namespace
}  // namespace trireme::coordinator
