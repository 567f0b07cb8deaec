// TestReplica: the ranks of one replica as threads of the test, driven by handmade step plans
// through inproc links.
//
// Uses what production uses (run_worker_loop, Worker, StepExecutor); only the scheduler is a toy.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "kernels/backend.h"
#include "parallel/comm/mesh.h"
#include "parallel/step/step_link.h"
#include "worker/worker.h"

namespace trireme::worker {

struct ReplicaOptions {
  std::string model_dir;  // a golden's folder; with `config`, unused
  std::string config;     // config.json text for random weights
  int tp = 1;
  int pp = 1;
  std::vector<int> stage_layers;
  plan::ExpertCut experts = plan::ExpertCut::kExpert;
  std::string backend = "cpu";  // cpu | reference
  // Makes the ranks' backends instead, where it is given.
  std::function<std::unique_ptr<kernels::Backend>(kernels::ComputeDType)> make_backend;
  // Wraps the backend of a rank, where it is given.
  std::function<std::unique_ptr<kernels::Backend>(std::unique_ptr<kernels::Backend>,
                                                  int worker_rank)>
      wrap_backend;
  // Wraps the tp group of a rank, where it is given.
  std::function<std::unique_ptr<comm::Group>(std::unique_ptr<comm::Group>, kernels::Backend&)>
      wrap_tp;
  kernels::ComputeDType compute = kernels::ComputeDType::kF32;
  bool keep_low_bit = false;
  bool e4m3_kv = false;
  int64_t max_step_tokens = 512;
  int64_t max_logits_rows = 256;
  int64_t n_blocks = 256;
  std::optional<bool> scan_on_device;  // as WorkerOptions
  // As WorkerOptions; logits() are there only without.
  bool steps_ahead = false;
  bool decode_graphs = true;  //
  // Each stage is on a machine of its own, and all hidden states travel in parts.
  bool machine_per_stage = false;
  // The ranks have groups over host memory beside the others, which then refuse records.
  bool host_groups = false;
};

std::unique_ptr<kernels::Backend> make_test_backend(const std::string& name,
                                                    kernels::ComputeDType compute);

class TestReplica {
 public:
  explicit TestReplica(const ReplicaOptions& options);
  ~TestReplica();

  // Fills the header and runs the plan on every rank. Aborts the test binary when a rank fails.
  step::StepResult run(step::StepPlan plan);
  // Sends all plans before it waits for the first result.
  std::vector<step::StepResult> run_all(std::vector<step::StepPlan> plans);
  // Sends all plans, of which one fails; how many results came before its failure.
  int n_results_before_failure(std::vector<step::StepPlan> plans);
  // Sends the plan as it is; the next RankFailure, or a failure without a message when the plan
  // succeeds.
  step::RankFailure run_bad(const step::StepPlan& plan);
  step::StepHeader next_header(const step::StepPlan& plan);

  // Logits of the last step, all of the vocabulary: [n_rows][vocab].
  std::vector<std::vector<float>> logits() const;
  const plan::ModelSpec& spec() const { return spec_; }
  const plan::KvLayout& kv_layout() const { return kv_layout_; }
  const std::vector<step::RankReady>& ready() const { return ready_; }
  // Those that ranks told of, of steps whose successors have run.
  const std::vector<step::ExpertLoad>& expert_loads() const { return expert_loads_; }
  int64_t max_step_tokens() const { return options_.max_step_tokens; }
  // Recorded decode steps of the rank that has most, as of steps whose successors have run.
  int64_t n_graphs() const { return n_graphs_; }
  // Over all ranks and steps, as far as they have told.
  int64_t n_ahead() const { return n_ahead_; }
  int64_t n_redone() const { return n_redone_; }

 private:
  void run_rank(int worker_rank, comm::Mesh mesh);
  void send_all(std::vector<step::StepPlan>& plans);
  step::RankEvent next_event();
  step::StepResult next_result();

  ReplicaOptions options_;
  SystemClock clock_;
  plan::ModelSpec spec_;
  plan::ParallelPlan plan_;
  plan::KvLayout kv_layout_;
  step::InprocLinks links_;
  std::vector<std::thread> threads_;
  std::vector<step::RankReady> ready_;
  std::vector<step::ExpertLoad> expert_loads_;
  uint64_t n_steps_ = 0;
  int64_t n_graphs_ = 0;
  int64_t n_ahead_ = 0;
  int64_t n_redone_ = 0;
  mutable std::mutex mutex_;
  std::map<int, std::vector<std::vector<float>>> logits_;  // by tp rank, under mutex_
};

// One request of the toy scheduler.
struct TestSequence {
  std::vector<int32_t> prompt;  // every token known at the start
  int32_t n_prompt = 0;  // how many of them are the prompt; 0: all. The rest were sampled before
  step::SamplingParams sampling;
  int n_new = 0;
  bool prompt_logprobs = false;
};

struct Generated {
  std::vector<int32_t> tokens;
  std::vector<step::PositionLogprobs> logprobs;
  std::vector<step::PositionLogprobs> prompt_logprobs;
  std::vector<std::vector<float>>
      logits;  // of prompt positions where asked for, then of each sampled token
};

// Runs all sequences together to their end; prompts are computed in chunks of at most `chunk`
// tokens.
std::vector<Generated> generate(TestReplica& replica, const std::vector<TestSequence>& sequences,
                                int chunk = 1 << 20);

// `count` deterministic token ids of at least 3.
std::vector<int32_t> make_prompt(int count, uint64_t seed, int32_t vocab);

step::SamplingParams greedy_sampling();

}  // namespace trireme::worker
