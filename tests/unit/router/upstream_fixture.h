// Upstream against a scripted endpoint and a clock that the test moves: no token lost, repeated or
// altered.
#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "router/upstream/upstream.h"

namespace trireme::router {

using wire::FinishReason;

class FakeEndpoint final : public wire::RouterEndpoint {
 public:
  std::string address() const override { return "fake"; }
  Status send(const wire::PeerId& peer, const wire::FromRouter& message) override {
    if (gone.contains(peer)) return unavailable("gone");
    if (full.contains(peer)) return resource_exhausted("full");
    sent.emplace_back(peer, message);
    return {};
  }
  std::optional<wire::FromReplicaMessage> receive() override {
    if (incoming.empty()) return std::nullopt;
    auto message = std::move(incoming.front());
    incoming.pop_front();
    return message;
  }
  int event_fd() const override { return -1; }
  int64_t n_rejected_frames() const override { return 0; }

  // Messages of one kind to one peer, taken out.
  template <typename T>
  std::vector<T> take(const wire::PeerId& peer) {
    std::vector<T> out;
    std::erase_if(sent, [&](const auto& entry) {
      const T* message = entry.first == peer ? std::get_if<T>(&entry.second) : nullptr;
      if (message != nullptr) out.push_back(*message);
      return message != nullptr;
    });
    return out;
  }

  std::vector<std::pair<wire::PeerId, wire::FromRouter>> sent;
  std::deque<wire::FromReplicaMessage> incoming;
  std::set<wire::PeerId> gone, full;
};

struct Listener final : JobListener {
  bool on_update(const JobUpdate& update) override {
    tokens.insert(tokens.end(), update.tokens.begin(), update.tokens.end());
    finish = update.finish;
    cost = update.cost_nano_usd;
    n_prompt_logprobs += static_cast<int>(update.prompt_logprobs.size());
    return stop_after == 0 || tokens.size() < stop_after;
  }
  void on_error(const Error& e) override { error = e; }

  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  std::optional<Error> error;
  int64_t cost = 0;
  int n_prompt_logprobs = 0;
  size_t stop_after = 0;
};

class UpstreamTest : public testing::Test {
 protected:
  UpstreamTest() : metrics_(registry_, "m", 1000, false) {
    options_.model = "m";
    options_.vocab = 100;
    options_.router_epoch = 7;
    options_.queue_requests = 4;
    upstream_ = std::make_unique<Upstream>(clock_, endpoint_, options_, metrics_, [] {});
  }

  void say(const wire::PeerId& peer, wire::FromReplica message) {
    endpoint_.incoming.push_back({peer, std::move(message)});
    upstream_->poll();
  }
  void hello(const wire::PeerId& peer, const std::string& name, uint64_t epoch,
             const std::string& print = "f", int max_running = 8) {
    wire::Hello h;
    h.replica = name;
    h.epoch = epoch;
    h.model = "m";
    h.model_fingerprint = print;
    h.context = 64;
    h.vocab = 100;
    h.block_size = 4;
    h.n_kv_blocks = 100;
    h.max_running = max_running;
    say(peer, h);
  }
  void tokens(const wire::PeerId& peer, uint64_t epoch, uint64_t request, int32_t first,
              std::vector<int32_t> ids, FinishReason finish = FinishReason::kNone,
              int64_t cost = 0) {
    wire::TokenUpdate update;
    update.request = request;
    update.first_index = first;
    update.tokens = std::move(ids);
    update.finish = finish;
    update.cost_nano_usd = cost;
    say(peer, wire::TokenBatch{epoch, {update}});
  }
  void fail(const wire::PeerId& peer, uint64_t epoch, uint64_t request, Error error) {
    wire::TokenUpdate update;
    update.request = request;
    update.finish = FinishReason::kError;
    update.error = std::move(error);
    say(peer, wire::TokenBatch{epoch, {update}});
  }
  JobSpec spec(int32_t max_tokens = 10) {
    JobSpec s;
    s.prompt = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{1, 2, 3});
    s.max_tokens = max_tokens;
    return s;
  }
  void pass(int64_t ns) {
    clock_.advance_ns(ns);
    upstream_->tick();
  }

  ManualClock clock_;
  FakeEndpoint endpoint_;
  MetricsRegistry registry_;
  RouterMetrics metrics_;
  UpstreamOptions options_;
  std::unique_ptr<Upstream> upstream_;
};

}  // namespace trireme::router
