#include "tests/unit/worker/test_replica.h"

#include <fmt/format.h>

#include <algorithm>

#include "parallel/comm/forwarding_group.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "worker/sample/counter_random.h"
#include "worker/worker_loop.h"

namespace trireme::worker {
namespace {

constexpr int64_t kTestTimeoutNs = 120'000'000'000;
constexpr int32_t kBlockSize = 16;

// A group as on a device: hidden states and sums go over it, and a record of the host's is a
// mistake.
class NoRecords final : public comm::ForwardingGroup {
 public:
  explicit NoRecords(std::unique_ptr<comm::Group> group) : ForwardingGroup(std::move(group)) {}

  Status all_gather(const TensorView& x, const TensorView& out,
                    const comm::OpContext& context) override {
    return x.dtype == DType::kF32 ? inner_->all_gather(x, out, context) : refuse(context);
  }
  Status broadcast(const TensorView&, int, const comm::OpContext& context) override {
    return refuse(context);
  }
  Status send(const TensorView& x, int peer, const comm::OpContext& context) override {
    return x.dtype == DType::kF32 ? inner_->send(x, peer, context) : refuse(context);
  }
  Status recv(const TensorView& x, int peer, const comm::OpContext& context) override {
    return x.dtype == DType::kF32 ? inner_->recv(x, peer, context) : refuse(context);
  }

 private:
  static Status refuse(const comm::OpContext& context) {
    return internal_error(fmt::format("{}: a record on the device's group", context.op));
  }
};

comm::Mesh over_host(comm::Mesh device, comm::Mesh host) {
  for (auto* group : {&device.tp, &device.pp, &device.world}) {
    *group = std::make_unique<NoRecords>(std::move(*group));
  }
  device.host = std::make_unique<comm::Mesh>(std::move(host));
  return device;
}

}  // namespace

std::unique_ptr<kernels::Backend> make_test_backend(const std::string& name,
                                                    kernels::ComputeDType compute) {
  if (name == "reference") return kernels::make_reference_backend(compute);
  auto backend = kernels::make_cpu_backend({.compute_dtype = compute, .n_threads = 1});
  CHECK(backend.ok()) << backend.error().message;
  return std::move(*backend);
}

TestReplica::TestReplica(const ReplicaOptions& options) : options_(options) {
  auto spec = options.config.empty() ? plan::load_model_spec(options.model_dir)
                                     : plan::parse_model_spec(options.config);
  CHECK(spec.ok()) << spec.error().message;
  spec_ = *spec;
  auto plan = plan::make_parallel_plan(spec_, {.tp = options.tp,
                                               .pp = options.pp,
                                               .stage_layers = options.stage_layers,
                                               .experts = options.experts});
  CHECK(plan.ok()) << plan.error().message;
  plan_ = *plan;
  kv_layout_ = plan::make_kv_layout(spec_, plan_);
  const int n_ranks = options.tp * options.pp;
  links_ = step::make_inproc_links(n_ranks);
  std::vector<comm::Mesh> meshes = comm::make_inproc_meshes(options.tp, options.pp, clock_);
  if (options.host_groups) {
    std::vector<comm::Mesh> hosts = comm::make_inproc_meshes(options.tp, options.pp, clock_);
    for (size_t i = 0; i < meshes.size(); ++i) {
      meshes[i] = over_host(std::move(meshes[i]), std::move(hosts[i]));
    }
  }
  for (int rank = 0; rank < n_ranks; ++rank) {
    threads_.emplace_back(
        [this, rank, mesh = std::move(meshes[static_cast<size_t>(rank)])]() mutable {
          run_rank(rank, std::move(mesh));
        });
  }
  while (ready_.size() < static_cast<size_t>(n_ranks)) {
    const step::RankEvent event = next_event();
    if (const auto* ready = std::get_if<step::RankReady>(&event)) ready_.push_back(*ready);
    const auto* failure = std::get_if<step::RankFailure>(&event);
    CHECK(failure == nullptr) << failure->message;
  }
  CHECK(links_.coordinator->send(step::SetKvBlocks{options.n_blocks}).ok());
}

TestReplica::~TestReplica() {
  const Status sent = links_.coordinator->send(step::Shutdown{"the test ends"});
  (void)sent;  // a rank that failed in the test is gone already
  for (std::thread& thread : threads_) thread.join();
}

void TestReplica::run_rank(int worker_rank, comm::Mesh mesh) {
  step::RankLink& link = *links_.ranks[static_cast<size_t>(worker_rank)];
  WorkerOptions worker;
  worker.model_dir = options_.model_dir;
  worker.spec = spec_;
  worker.plan = plan_;
  worker.worker_rank = worker_rank;
  worker.block_size = kBlockSize;
  worker.max_step_tokens = options_.max_step_tokens;
  worker.max_logits_rows = options_.max_logits_rows;
  worker.keep_low_bit = options_.keep_low_bit;
  worker.e4m3_kv = options_.e4m3_kv;
  worker.scan_on_device = options_.scan_on_device;
  worker.steps_ahead = options_.steps_ahead;
  worker.decode_graphs = options_.decode_graphs;
  if (options_.machine_per_stage) {
    worker.machine = "machine " + std::to_string(mesh.stage());
    worker.min_bytes_in_parts = 1;
  }
  worker.random_weights = !options_.config.empty();
  worker.random_seed = 1;
  worker.memory_bytes = int64_t{1} << 30;
  const int tp_rank = mesh.tp_rank();
  const int64_t width = plan_.ranks[static_cast<size_t>(worker_rank)].vocab.size();
  if (!options_.steps_ahead)
    worker.logits_observer = [this, tp_rank, width](StepId, const float* logits, int64_t n_rows,
                                                    int64_t stride) {
      std::vector<std::vector<float>> rows;
      for (int64_t i = 0; i < n_rows; ++i) {
        rows.emplace_back(logits + i * stride, logits + i * stride + width);
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      logits_[tp_rank] = std::move(rows);
    };
  auto backend = options_.make_backend ? options_.make_backend(options_.compute)
                                       : make_test_backend(options_.backend, options_.compute);
  if (options_.wrap_backend) backend = options_.wrap_backend(std::move(backend), worker_rank);
  if (options_.wrap_tp) mesh.tp = options_.wrap_tp(std::move(mesh.tp), *backend);
  auto created = Worker::create(worker, std::move(mesh), std::move(backend), clock_,
                                report_progress(link, worker_rank));
  if (!created.ok()) {
    report_failure(link, worker_rank, StepId(0), "loading", created.error());
    return;
  }
  const Status status = run_worker_loop(link, **created);
  (void)status;  // the coordinator's end has heard of it
}

step::RankEvent TestReplica::next_event() {
  auto event = links_.coordinator->receive(kTestTimeoutNs);
  CHECK(event.has_value()) << "no rank says anything";
  return std::move(*event);
}

step::StepHeader TestReplica::next_header(const step::StepPlan& plan) {
  return {.epoch = 1, .step = StepId(++n_steps_), .shape_hash = step::shape_hash(plan)};
}

step::StepResult TestReplica::run(step::StepPlan plan) {
  return std::move(run_all({std::move(plan)}).front());
}

void TestReplica::send_all(std::vector<step::StepPlan>& plans) {
  for (step::StepPlan& plan : plans) {
    plan.header = next_header(plan);
    plan.deadline_ns = kTestTimeoutNs;
    CHECK(links_.coordinator->send(plan).ok());
  }
}

int TestReplica::n_results_before_failure(std::vector<step::StepPlan> plans) {
  send_all(plans);
  for (int n = 0;;) {
    const step::RankEvent event = next_event();
    if (std::holds_alternative<step::RankFailure>(event)) return n;
    n += std::holds_alternative<step::StepResult>(event) ? 1 : 0;
  }
}

std::vector<step::StepResult> TestReplica::run_all(std::vector<step::StepPlan> plans) {
  send_all(plans);
  std::vector<step::StepResult> results;
  for (const step::StepPlan& plan : plans) {
    results.push_back(next_result());
    CHECK_EQ(results.back().header.step, plan.header.step);
  }
  return results;
}

step::StepResult TestReplica::next_result() {
  for (;;) {
    step::RankEvent event = next_event();
    if (auto* result = std::get_if<step::StepResult>(&event)) return std::move(*result);
    if (auto* timings = std::get_if<step::StepTimings>(&event)) {
      n_graphs_ = std::max(n_graphs_, timings->timing.n_graphs);
      n_ahead_ += timings->timing.n_ahead;
      n_redone_ += timings->timing.n_redone;
      if (!timings->experts.empty()) expert_loads_.push_back(std::move(timings->experts));
    }
    const auto* failure = std::get_if<step::RankFailure>(&event);
    CHECK(failure == nullptr) << failure->message;
  }
}

step::RankFailure TestReplica::run_bad(const step::StepPlan& plan) {
  CHECK(links_.coordinator->send(plan).ok());
  for (;;) {
    step::RankEvent event = next_event();
    if (auto* failure = std::get_if<step::RankFailure>(&event)) return std::move(*failure);
    if (std::holds_alternative<step::StepResult>(event)) return {};
  }
}

std::vector<std::vector<float>> TestReplica::logits() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::vector<float>> full;
  for (const auto& [tp_rank, rows] : logits_) {
    full.resize(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      full[i].insert(full[i].end(), rows[i].begin(), rows[i].end());
    }
  }
  return full;
}

step::SamplingParams greedy_sampling() {
  step::SamplingParams sampling;
  sampling.temperature = 0;
  return sampling;
}

namespace {

// The toy scheduler: prompts first come, first served, inside the step's budget; decode rows
// always.
class ToyScheduler {
 public:
  ToyScheduler(TestReplica& replica, const std::vector<TestSequence>& sequences, int chunk)
      : replica_(replica), sequences_(sequences), chunk_(chunk), state_(sequences.size()) {
    generated_.resize(sequences.size());
  }

  std::vector<Generated> run() {
    while (step()) {
    }
    step::StepPlan last;
    for (size_t i = 0; i < sequences_.size(); ++i) last.releases.push_back(id_of(i));
    replica_.run(last);
    return std::move(generated_);
  }

 private:
  struct State {
    std::vector<int32_t> tokens;  // given at the start; empty: not started
    int32_t n_computed = 0;
    int32_t n_blocks = 0;
  };

  // Ids never repeat on one replica, whatever test used it before.
  SequenceId id_of(size_t i) const { return SequenceId(base_ + i); }

  // Starts a sequence; and again, as after a preemption, where it has grown past the model's
  // recompute length.
  void start(size_t i, step::StepPlan& plan) {
    const TestSequence& sequence = sequences_[i];
    std::vector<int32_t> known = sequence.prompt;
    known.insert(known.end(), generated_[i].tokens.begin(), generated_[i].tokens.end());
    State& state = state_[i];
    const auto length = static_cast<size_t>(replica_.spec().recompute_length());
    const bool outgrown = length > 0 && state.tokens.size() <= length && known.size() > length;
    if (!state.tokens.empty() && !outgrown) return;
    if (!state.tokens.empty()) plan.releases.push_back(id_of(i));
    state = State{.tokens = known};
    const auto n_prompt = static_cast<int32_t>(sequence.prompt.size());
    plan.starts.push_back(
        {id_of(i), known, sequence.n_prompt > 0 ? sequence.n_prompt : n_prompt, sequence.sampling});
  }

  bool step() {
    step::StepPlan plan;
    std::vector<size_t> in_plan;
    int64_t budget = replica_.max_step_tokens() - static_cast<int64_t>(sequences_.size());
    for (size_t i = 0; i < sequences_.size(); ++i) {
      if (static_cast<int>(generated_[i].tokens.size()) == sequences_[i].n_new) continue;
      if (plan_span(i, budget, plan)) in_plan.push_back(i);
    }
    if (in_plan.empty()) return false;
    const step::StepResult result = replica_.run(plan);
    apply(plan, in_plan, result);
    return true;
  }

  bool plan_span(size_t i, int64_t& budget, step::StepPlan& plan) {
    start(i, plan);
    State& state = state_[i];
    const TestSequence& sequence = sequences_[i];
    const auto n_prompt = static_cast<int32_t>(sequence.prompt.size());
    const auto n_known = static_cast<int32_t>(state.tokens.size());
    step::SequenceSpan span;
    span.id = id_of(i);
    span.first_position = state.n_computed;
    if (state.n_computed < n_known) {
      span.n_tokens =
          static_cast<int32_t>(std::min<int64_t>({chunk_, n_known - state.n_computed, budget}));
      if (span.n_tokens <= 0) return false;
      budget -= span.n_tokens;
      span.sample = span.first_position + span.n_tokens == n_known;
      if (sequence.prompt_logprobs && n_known == n_prompt) {
        span.first_logprob_position = span.first_position;
        span.n_logprob_positions =
            std::min(span.first_position + span.n_tokens, n_prompt - 1) - span.first_position;
      }
    } else {
      span.n_tokens = 1;
      span.token = generated_[i].tokens.back();
      span.sample = true;
    }
    take_blocks(state, span, plan.n_group_blocks);
    plan.spans.push_back(span);
    return true;
  }

  // New blocks, as many for every group of layers.
  void take_blocks(State& state, step::SequenceSpan& span, std::vector<int32_t>& n_group_blocks) {
    const int32_t end = span.first_position + span.n_tokens;
    const int32_t n_new = (end + kBlockSize - 1) / kBlockSize - state.n_blocks;
    if (n_new <= 0) return;
    const size_t n_groups = replica_.kv_layout().groups.size();
    state.n_blocks += n_new;
    if (n_groups > 1) n_group_blocks.insert(n_group_blocks.end(), n_groups, n_new);
    for (size_t i = 0; i < n_groups * static_cast<size_t>(n_new); ++i) {
      span.new_blocks.push_back(BlockId(next_block_++));
    }
  }

  void apply(const step::StepPlan& plan, const std::vector<size_t>& in_plan,
             const step::StepResult& result) {
    const std::vector<std::vector<float>> logits = replica_.logits();
    size_t output = 0;
    size_t row = 0;
    for (size_t s = 0; s < plan.spans.size(); ++s) {
      const step::SequenceSpan& span = plan.spans[s];
      Generated& generated = generated_[in_plan[s]];
      state_[in_plan[s]].n_computed += span.n_tokens;
      for (int32_t p = 0; p < span.n_logprob_positions; ++p) {
        generated.logits.push_back(logits.at(row++));
      }
      if (span.sample) generated.logits.push_back(logits.at(row++));
      if (!span.sample && span.n_logprob_positions == 0) continue;
      const step::SequenceOutput& out = result.outputs.at(output++);
      CHECK_EQ(out.id, span.id);
      for (const auto& logprobs : out.prompt_logprobs) {
        generated.prompt_logprobs.push_back(logprobs);
      }
      if (!span.sample) continue;
      generated.tokens.push_back(out.token);
      for (const auto& logprobs : out.logprobs) generated.logprobs.push_back(logprobs);
    }
  }

  TestReplica& replica_;
  const std::vector<TestSequence>& sequences_;
  int chunk_;
  std::vector<State> state_;
  std::vector<Generated> generated_;
  int32_t next_block_ = 0;
  uint64_t base_ = 1;
};

}  // namespace

std::vector<Generated> generate(TestReplica& replica, const std::vector<TestSequence>& sequences,
                                int chunk) {
  return ToyScheduler(replica, sequences, chunk).run();
}

std::vector<int32_t> make_prompt(int count, uint64_t seed, int32_t vocab) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) {
    const uint64_t hash = counter_hash(seed, static_cast<uint64_t>(i));
    ids.push_back(3 + static_cast<int32_t>(hash % static_cast<uint64_t>(vocab - 3)));
  }
  return ids;
}

}  // namespace trireme::worker
