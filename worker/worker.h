// Worker: one rank of a replica, from loading its slices of the weights to running step plans.
//
// Owns weights, KV bytes, backend and groups. Driven by one thread; ranks of one process are
// Workers on different threads. Order of calls: create, allocate_kv once, then execute per plan. It
// reads no environment and no clock but the one it is given, and does not know how plans reach it
// (worker_loop.h does).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "parallel/comm/mesh.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "parallel/step/step_plan.h"
#include "worker/step_executor.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

struct WorkerOptions {
  std::string model_dir;  // unused with random_weights
  plan::ModelSpec spec;
  plan::ParallelPlan plan;
  int worker_rank = 0;
  int32_t block_size = 16;        // tokens per KV block, a multiple of 16
  int64_t max_step_tokens = 512;  // rows of a step
  int64_t max_logits_rows = 256;  // rows of a step that want logits
  bool keep_low_bit = false;      // codes that have a kernel are not expanded
  bool e4m3_kv = false;  // keys and values are cached as e4m3, and not in the compute dtype
  bool random_weights = false;
  uint64_t random_seed = 0;
  int64_t memory_bytes = 0;  // that this rank may use in all; 0: what the backend has free
  double utilisation = 0.9;  // the share of it that is planned with
  int64_t startup_deadline_ns =
      600'000'000'000;  // for the agreement with the other ranks before loading
  int64_t step_deadline_ns = 60'000'000'000;  // of a plan that names none
  LogitsObserver logits_observer;             // for tests and tools; empty otherwise
  bool decode_graphs = true;  // on a device, decode steps are recorded once per size
  // Logits are scanned where they are; default: on a device, and not on a host.
  std::optional<bool> scan_on_device;
  // Steps begin before the one before is finished (StepExecutor); unset: on a device.
  std::optional<bool> steps_ahead;
  std::string machine;  // where this rank runs: any name that its machine alone has
  // Between machines, hidden states of so many bytes travel in parts (stage_link.h).
  size_t min_bytes_in_parts = StageLinkOptions().min_bytes_in_parts;
};

class Worker {
 public:
  // Checks the options, agrees with the other ranks on model and plan, checks the memory, loads the
  // weights. invalid_argument, failed_precondition (ranks that disagree), resource_exhausted
  // (memory, with the numbers, before anything is loaded), and the loader's errors, which name the
  // tensor.
  static Result<std::unique_ptr<Worker>> create(WorkerOptions options, comm::Mesh mesh,
                                                std::unique_ptr<kernels::Backend> backend,
                                                const Clock& clock, LoadProgressFn progress = {});

  // KV blocks that this rank has memory for, beside what it has loaded.
  int64_t n_kv_blocks_possible() const { return n_kv_blocks_possible_; }
  // The replica's block count, the same on every rank. Once.
  Status allocate_kv(int64_t n_blocks);

  // Runs a plan; the result on tp rank 0 of the last stage, nullopt elsewhere. failed_precondition
  // before allocate_kv and after an earlier error.
  Result<std::optional<step::StepResult>> execute(const step::StepPlan& plan);
  // The same in two halves, between which a device works: see StepExecutor.
  Status begin(step::StepPlan plan);
  Result<std::optional<step::StepResult>> finish();
  bool may_begin_next() const;
  Result<bool> all_would_begin(bool mine);
  bool is_device_done() const;
  const step::StageTiming& last_timing() const;
  const step::ExpertLoad& last_expert_load() const;
  // The operation that the last error of execute belongs to, e.g. "layer 3 mlp all_reduce".
  std::string last_op() const;

  int worker_rank() const { return options_.worker_rank; }
  int64_t weight_bytes() const { return weight_bytes_; }  // on the device
  int64_t load_ns() const { return load_ns_; }
  int64_t startup_comm_ns() const { return startup_comm_ns_; }
  std::string device() const { return backend_->description(); }
  // Its ops are enqueued and done aside; else they are done by the thread that calls execute.
  bool on_device() const { return backend_->name() == "cuda"; }
  // Makes this rank's groups fail soon, so that no other rank waits for it. Any thread.
  void abort(std::string_view reason);

 private:
  Worker(WorkerOptions options, comm::Mesh mesh, std::unique_ptr<kernels::Backend> backend,
         const Clock& clock);

  const plan::RankPlan& rank() const {
    return options_.plan.ranks[static_cast<size_t>(options_.worker_rank)];
  }
  DType compute_dtype() const;
  bool steps_ahead() const { return options_.steps_ahead.value_or(on_device()); }
  DType kv_dtype() const { return options_.e4m3_kv ? DType::kE4M3 : compute_dtype(); }
  Status check_options() const;
  Status agree_on_setup();
  Status check_memory();
  Status load(const LoadProgressFn& progress);
  Status shape_kv(const WeightSource& source);
  Status report_memory(int64_t n_blocks) const;

  WorkerOptions options_;
  comm::Mesh mesh_;
  std::unique_ptr<kernels::Backend> backend_;
  const Clock& clock_;
  int64_t usable_bytes_ = 0;
  int64_t free_before_load_bytes_ =
      0;  // of a device; 0 where the memory was given or is the host's
  int64_t activation_bytes_ = 0;
  int64_t graph_reserve_bytes_ = 0;  // of recorded decode steps
  int64_t weight_bytes_ = 0;
  int64_t load_ns_ = 0;
  int64_t startup_comm_ns_ = 0;
  StageLinkOptions stage_link_;
  int64_t n_kv_blocks_possible_ = 0;
  plan::KvLayout kv_layout_;
  KvShape kv_shape_;
  std::unique_ptr<Model> model_;
  std::optional<KvCache> kv_;
  std::unique_ptr<StepExecutor> executor_;
};

}  // namespace trireme::worker
