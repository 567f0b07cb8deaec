// StepExecutor: runs one step plan on one rank: agree, receive, layers, send or sample.
//
// Before the first collective of a step the ranks agree on its header (epoch, step, shape hash):
// within a stage by one small all_gather over the tp group, and from stage to stage by sending the
// header ahead of the hidden states. Stages run at different times, so that a gather over the whole
// replica would stall the pipeline; this agrees on as much, because a stage's output goes nowhere
// but to the next.
//
// A stage sends and goes on to its next plan, so that as many plans are in flight as there are
// stages. Where there is one stage on a device, the next step may begin before this one is
// finished (docs/adr/0011): its rows begin with tokens that are on the device, and the host hears
// of them while the device works. Should it decide otherwise, which is rare, the step is done again
// with what it decided: nothing that the device guessed leaves the rank. The step before is never
// done again: by then the next plan may have given its blocks to others.
//
// Each rank checks the plan itself (sequence_table.h). After an error the executor is unusable and
// its groups are aborted, so that no neighbour waits for it. Used by the rank's thread.
#pragma once

#include <array>
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
  // Steps begin before the one before is finished, where they can; with scan_on_device.
  bool steps_ahead = false;
  StageLinkOptions stage_link;
  LogitsObserver logits_observer;
};

class StepExecutor {
 public:
  // Everything that `inputs` refers to outlives the executor.
  static Result<std::unique_ptr<StepExecutor>> create(const ExecutorInputs& inputs);

  // The result on tp rank 0 of the last stage, nullopt elsewhere.
  Result<std::optional<step::StepResult>> execute(const step::StepPlan& plan);

  // The same in two halves: the step's work is enqueued, and then it is waited for. Where
  // `may_begin_next`, which all ranks of the stage say alike, the next step may begin in between.
  // Where `begin` fails then, the step before can still be finished.
  Status begin(step::StepPlan plan);
  Result<std::optional<step::StepResult>> finish();
  bool may_begin_next() const;
  // Whether every rank of the stage is ready to, so that all do or none.
  Result<bool> all_would_begin(bool mine);
  // Of the step that is to be finished next: finish() will hardly wait for the device.
  bool is_device_done() const;

  // Of the step finished last.
  const step::StageTiming& last_timing() const { return timing_; }
  // Of the last step: of each 16th, on the ranks that tell of it; else empty.
  const step::ExpertLoad& last_expert_load() const { return expert_load_; }
  // The operation that the last error belongs to.
  const std::string& last_op() const { return last_op_; }

 private:
  // A step between its beginning and its end.
  struct Flight {
    step::StepPlan plan;
    HostBatch batch;
    StepContext context;
    std::vector<int32_t> row_ids;
    std::vector<RowRequest> requests;
    std::vector<RowOutcome> outcomes;
    Sampler::Asked asked;
    int64_t n_ahead = 0;  // step::StageTiming
    int64_t n_redone = 0;
    std::unique_ptr<kernels::Marker> enqueued;  // behind all of its work so far
  };

  explicit StepExecutor(const ExecutorInputs& inputs);

  Status allocate();
  Status allocate_sampling();
  Status check_header(const step::StepPlan& plan);
  Status start(Flight& flight);
  Result<std::optional<step::StepResult>> conclude(Flight& flight);
  void note_failure(const Flight& flight, const Error& error);
  size_t n_in_flight() const { return static_cast<size_t>(n_begun_ - n_finished_); }
  Flight& flight_of(uint64_t number) { return flights_[number % flights_.size()]; }
  const Flight& flight_of(uint64_t number) const { return flights_[number % flights_.size()]; }

  Status agree(const step::StepHeader& header, const HostBatch& batch, StepContext& context);
  // From the batch to the questions about its logits.
  Status enqueue(Flight& flight);
  Status compute(Flight& flight, const TensorView& x);
  Status compute_recorded(Flight& flight, const TensorView& x);
  bool tells_expert_load(const step::StepHeader& header) const;
  // What is sampled, and of what rows.
  void list_rows(Flight& flight) const;
  // The rows' logits, unless `has_logits`: they have been computed, in their order.
  TensorView logits_of(Flight& flight, const TensorView& x, bool has_logits);
  void keep_logits(Flight& flight);
  Status sample(Flight& flight);
  // Where `next` began with the tokens that the device was told, and others were decided, it is
  // enqueued again.
  Status confirm(const Flight& flight, Flight& next);
  void read_expert_load(StepContext& context);
  void embed(const Flight& flight, const TensorView& x, StepContext& context);
  step::StepResult collect(Flight& flight);

  ExecutorInputs in_;
  SequenceTable table_;
  std::array<Flight, 2> flights_;  // by their numbers in turn
  uint64_t n_begun_ = 0;
  uint64_t n_finished_ = 0;
  uint64_t waits_until_ = 0;    // before so many have begun, none begins ahead
  uint64_t wait_ = 0;           // of the last wrong guess, in steps
  uint64_t n_ahead_since_ = 0;  // steps begun ahead since then
  int64_t finished_ns_ = 0;     // the last one
  HostExchange tp_exchange_;
  std::optional<StageLink> stages_;
  std::unique_ptr<Sampler> sampler_;      // last stage
  std::unique_ptr<DecodeGraphs> graphs_;  // or nullptr
  StepId last_step_;
  uint64_t epoch_ = 0;
  bool broken_ = false;
  std::string last_op_;
  std::string failure_;
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
  std::vector<std::vector<float>> embeddings_;
  std::vector<float> embedded_rows_;
  std::vector<float> observed_;
};

}  // namespace trireme::worker
