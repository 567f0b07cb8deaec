// LiveReplica: a coordinator and the ranks of its replica, in one process: production's scheduler
// over production's workers, for tests of what both must agree on.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "coordinator/coordinator.h"
#include "kernels/backend.h"
#include "parallel/step/step_link.h"

namespace trireme::worker {

struct LiveOptions {
  std::string model_dir;
  int tp = 1;
  int pp = 1;
  kernels::ComputeDType compute = kernels::ComputeDType::kF32;
  // Makes the ranks' backends; the CPU's where it is not given.
  std::function<std::unique_ptr<kernels::Backend>(kernels::ComputeDType)> make_backend;
  bool e4m3_kv = false;
  int32_t max_step_tokens = 512;
  int32_t max_running = 16;
  int64_t max_kv_blocks = 2048;
  bool prefix_cache = false;
  bool run_ahead = false;
};

struct LiveRequest {
  std::vector<int32_t> prompt;
  std::vector<int32_t> emitted;  // by another replica, before
  int32_t n_new = 0;             // outputs in all
  step::SamplingParams sampling;
  int32_t priority = 0;
};

struct LiveAnswer {
  std::vector<int32_t> tokens;  // those that this replica sampled
  std::vector<step::PositionLogprobs> logprobs;
  wire::FinishReason finish = wire::FinishReason::kNone;
  int32_t cached_tokens = 0;
  std::string error;
};

class LiveReplica : public coordinator::RouterSink {
 public:
  explicit LiveReplica(const LiveOptions& options);
  ~LiveReplica() override;

  // Submits all at once, the late ones when some request has so many tokens, and runs until the
  // last has ended. The answers are in the order of the requests, then of the late ones.
  std::vector<LiveAnswer> run(const std::vector<LiveRequest>& requests,
                              const std::vector<LiveRequest>& late = {},
                              size_t late_after_tokens = 0);

  int64_t n_preemptions() const;
  int64_t n_steps_ahead() const;  // begun by a rank before the one before was finished
  int64_t most_blocks_used() const { return most_blocks_used_; }  // by sequences, after any step
  int32_t context() const { return coordinator_->context(); }

 private:
  int64_t total_of(const std::string& counter) const;
  void publish(coordinator::RouterId router, wire::TokenBatch& batch) override;
  void turn();
  void submit(const LiveRequest& request);

  SystemClock clock_;
  MetricsRegistry registry_;
  step::InprocLinks links_;
  std::vector<std::thread> threads_;
  std::unique_ptr<coordinator::Coordinator> coordinator_;
  std::map<uint64_t, LiveAnswer> answers_;
  size_t n_finished_ = 0;
  uint64_t last_request_ = 0;
  int64_t most_blocks_used_ = 0;
};

}  // namespace trireme::worker
