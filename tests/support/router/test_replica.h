// TestReplica: a replica that speaks the real wire in a thread of its own and makes its tokens up.
//
// Token k of a request is a function of its prompt, seed and k alone (expected_token), so that a
// test knows every stream in advance, whoever served it and however often it was resumed. It can be
// killed (no goodbye), frozen and thawed.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "parallel/wire/endpoints.h"

namespace trireme::testing {

struct TestReplicaOptions {
  std::string router_address;
  std::string name = "replica-0";
  uint64_t epoch = 1;
  std::string model = "trireme-demo";
  std::string fingerprint = "weights";
  int32_t context = 512;
  int32_t vocab = 1000;
  int32_t max_running = 256;
  int64_t token_interval_ns = 1'000'000;
  int64_t first_token_delay_ns = 0;
  // Tokens are drawn from [first_token, first_token + n_tokens).
  int32_t first_token = 300;
  int32_t n_tokens = 500;
  // Instead of drawn ones, these in order and over again: to spell a text.
  std::vector<int32_t> script;
  int32_t stop_at = -1;  // the index at which the request's first stop token comes
  // No token from this index on until release(), so that a test can act in the middle of a stream,
  // however slow the machine; -1: never waits.
  int32_t hold_at = -1;
  std::optional<wire::CurveClient> curve;
};

// Output `index` of a request.
int32_t expected_token(const TestReplicaOptions& options, const std::vector<int32_t>& prompt,
                       uint64_t seed, int32_t index);

class TestReplica {
 public:
  explicit TestReplica(TestReplicaOptions options);
  ~TestReplica();  // as kill()

  void kill();         // the connection closes, nothing is said
  void say_goodbye();  // then as kill()
  void freeze(bool frozen) { frozen_ = frozen; }
  void release() { released_ = true; }

  std::vector<wire::Submit> submits() const;
  std::vector<uint64_t> cancels() const;
  int n_running() const { return n_running_; }
  int n_welcomes() const { return n_welcomes_; }
  uint64_t router_epoch() const { return router_epoch_; }
  std::string refusal() const;

 private:
  struct Running {
    wire::Submit submit;
    int32_t next = 0;
    int64_t next_ns = 0;
    bool told_prompt = false;
  };

  void run();
  void receive(wire::ReplicaEndpoint& endpoint, std::vector<Running>& running);
  void step(wire::ReplicaEndpoint& endpoint, std::vector<Running>& running, int64_t now_ns);
  wire::TokenUpdate next_update(Running& job, int64_t now_ns);

  TestReplicaOptions options_;
  std::atomic<bool> stop_{false}, frozen_{false}, released_{false}, goodbye_{false};
  std::atomic<int> n_running_{0}, n_welcomes_{0};
  std::atomic<uint64_t> router_epoch_{0};
  mutable std::mutex mutex_;
  std::vector<wire::Submit> submits_;
  std::vector<uint64_t> cancels_;
  std::string refusal_;
  std::thread thread_;
};

}  // namespace trireme::testing
