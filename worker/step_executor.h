// StepExecutor: runs one step plan on one rank: agree, receive, layers, send or sample.
//
// Before the first collective of a step the ranks agree on its header (epoch, step, shape hash):
// within a stage by one small all_gather over the tp group, and from stage to stage by sending the
// header ahead of the hidden states. Stages run at different times, so that a gather over the whole
// replica would stall the pipeline; this agrees on as much, because a stage's output goes nowhere
// but to the next.
//
// A stage sends and goes on to its next plan, so that as many plans are in flight as there are
// stages. Each rank checks the plan itself (sequence_table.h). After an error the executor is
// unusable and its groups are aborted, so that no neighbour waits for it. Used by the rank's
// thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kernels/backend.h"
#include "parallel/comm/mesh.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "parallel/step/step_plan.h"
#include "worker/decode_graphs.h"
#include "worker/device_batch.h"
#include "worker/host_exchange.h"
#include "worker/kv/kv_cache.h"
#include "worker/models/model.h"
#include "worker/sample/sampler.h"
#include "worker/sequence_table.h"
#include "worker/stage_link.h"

namespace trireme::worker {

// Sees this rank's slice of every logits row before sampling, [n_rows, width] on the host: for
// tests and tools.
using LogitsObserver =
    std::function<void(StepId step, const float* logits, int64_t n_rows, int64_t width)>;

struct ExecutorInputs {
  const plan::ModelSpec& spec;
  const plan::RankPlan& rank;
  TableLimits limits;
  Model& model;
  KvCache& kv;
  kernels::Backend& backend;
  comm::Mesh& mesh;
  const Clock& clock;
  int64_t default_deadline_ns = 0;  // of a plan that names none
  bool scan_on_device = false;      // logits stay with the backend (sample/device_scan.h)
  // The cache has a block behind the pool's, and decode steps are recorded (decode_graphs.h).
  bool decode_graphs = false;
  StageLinkOptions stage_link;
  LogitsObserver logits_observer;
};

class StepExecutor {
 public:
  // Everything that `inputs` refers to outlives the executor.
  static Result<std::unique_ptr<StepExecutor>> create(const ExecutorInputs& inputs);

  // The result on tp rank 0 of the last stage, nullopt elsewhere. `meanwhile`, where it is given,
  // is called once in a step of tokens, when the step's work is enqueued and before it is waited
  // for.
  Result<std::optional<step::StepResult>> execute(const step::StepPlan& plan,
                                                  const std::function<void()>& meanwhile = {});

  const step::StageTiming& last_timing() const { return timing_; }
  // Of the last step: of each 16th, on the ranks that tell of it; else empty.
  const step::ExpertLoad& last_expert_load() const { return expert_load_; }
  // The operation that the last error belongs to.
  const std::string& last_op() const { return last_op_; }

 private:
  explicit StepExecutor(const ExecutorInputs& inputs);

  Status allocate();
  Status check_header(const step::StepPlan& plan);
  Result<std::optional<step::StepResult>> run(const step::StepPlan& plan,
                                              const std::function<void()>& meanwhile,
                                              StepContext& context);
  Status agree(const step::StepHeader& header, StepContext& context);
  Status compute(const step::StepHeader& header, const TensorView& x, StepContext& context);
  bool tells_expert_load(const step::StepHeader& header) const;
  Status compute_recorded(const step::StepHeader& header, const TensorView& x,
                          StepContext& context);
  // What is sampled, and of what rows; enqueues their logits unless `has_logits`: they have been
  // computed, in their order.
  void prepare_sampling(const TensorView& x, bool has_logits, StepContext& context);
  Status sample(StepContext& context);
  void read_expert_load(StepContext& context);
  void embed(const TensorView& x, StepContext& context);
  step::StepResult collect(const step::StepPlan& plan);

  ExecutorInputs in_;
  SequenceTable table_;
  HostBatch batch_;
  HostExchange tp_exchange_;
  std::optional<StageLink> stages_;
  std::unique_ptr<Sampler> sampler_;      // last stage
  std::unique_ptr<DecodeGraphs> graphs_;  // or nullptr
  StepId last_step_;
  uint64_t epoch_ = 0;
  bool broken_ = false;
  std::string last_op_;
  step::StageTiming timing_;
  step::ExpertLoad expert_load_;
  std::vector<int32_t> expert_starts_;  // on the host

  // Device buffers, allocated once but for the batch, which grows with the longest context seen.
  DeviceTensor x_;  // [max_step_tokens, hidden] f32
  DeviceBatch device_batch_;
  DeviceTensor rows_;      // [max_logits_rows] i32
  DeviceTensor x_logits_;  // [max_logits_rows, hidden] f32
  DeviceTensor logits_;    // [max_logits_rows, vocab_padded] f32

  std::vector<std::byte> mine_;
  std::vector<std::byte> all_;
  std::vector<int32_t> row_ids_;
  std::vector<RowRequest> requests_;
  std::vector<RowOutcome> outcomes_;
  std::vector<std::vector<float>> embeddings_;
  std::vector<float> embedded_rows_;
  std::vector<float> observed_;
};

}  // namespace trireme::worker
