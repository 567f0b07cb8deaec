#include "worker/bench_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "kernels/cpu/machine_limits.h"
#include "kernels/cuda/device_limits.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "parallel/plan/model_size.h"
#include "parallel/step/step_link.h"
#include "worker/models/declare.h"
#include "worker/stub_group.h"
#include "worker/worker_loop.h"

namespace trireme::worker {
namespace {

using kernels::cpu::LimitMeter;
using kernels::cpu::MachineLimits;

constexpr int64_t kStepDeadlineNs = 600'000'000'000;
constexpr int32_t kBlockSize = 16;
constexpr size_t kLimitBytes = size_t{512} << 20;  // read for the limit: larger than the caches
constexpr double kLimitSeconds = 0.15;
constexpr int32_t kAnyToken = 5;  // which token it is changes nothing about the time

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What a step must do at least: read every weight once, multiply every row with every matrix.
struct Work {
  double layer_parameters = 0;   // in matrices that every row meets
  double routed_parameters = 0;  // in experts, of which a row meets some
  double head_parameters = 0;    // in the head, met by the rows that are sampled
  double bytes_per_parameter = 2;
  double bytes_per_layer_parameter = 2;  // less where weights stay low-bit, as the next
  double bytes_per_routed_parameter = 2;

  double bytes(const plan::ModelSpec& spec, double n_rows) const {
    const double routed = routed_parameters * plan::routed_share(spec, n_rows);
    return layer_parameters * bytes_per_layer_parameter + routed * bytes_per_routed_parameter +
           head_parameters * bytes_per_parameter;
  }
  double flops(const plan::ModelSpec& spec, double n_rows, double n_sampled) const {
    const double met = layer_parameters + routed_parameters * plan::routed_share(spec, 1);
    return 2 * (met * n_rows + head_parameters * n_sampled);
  }
};

Result<Work> work_of(const EngineBenchOptions& options, const plan::ParallelPlan& plan,
                     int only_rank) {
  const plan::ModelSpec& spec = options.spec;
  Work work;
  const bool in_bf16 = options.compute_dtype == kernels::ComputeDType::kBF16;
  work.bytes_per_parameter = in_bf16 ? 2 : 4;
  const plan::HeldWeights held{in_bf16 ? DType::kBF16 : DType::kF32, options.keep_low_bit};
  work.bytes_per_layer_parameter = plan::matrix_weight_bytes(spec, held, /*routed=*/false);
  work.bytes_per_routed_parameter = plan::matrix_weight_bytes(spec, held, /*routed=*/true);
  ASSIGN_OR_RETURN(const auto declared, declare_weights(spec, plan));
  for (const plan::RankPlan& rank : plan.ranks) {
    if (only_rank >= 0 && rank.worker_rank != only_rank) continue;
    for (const DeclaredPart& want : declared[static_cast<size_t>(rank.worker_rank)].parts) {
      if (want.use != WeightUse::kLinear) continue;
      const auto n = static_cast<double>(want.part.n_rows() * want.part.n_columns());
      (want.part.routed ? work.routed_parameters : work.layer_parameters) += n;
    }
    if (!rank.last_stage) continue;
    const auto head = static_cast<double>(rank.vocab.size() * spec.hidden);
    work.head_parameters += head;
    work.layer_parameters -= head;  // declared as one of the linears
  }
  return work;
}

// The ranks as threads, and steps through them.
class BenchReplica {
 public:
  static Result<std::unique_ptr<BenchReplica>> start(const EngineBenchOptions& options,
                                                     const plan::ParallelPlan& plan,
                                                     int n_threads) {
    std::unique_ptr<BenchReplica> replica(new BenchReplica(options, plan, n_threads));
    TRY(replica->start_ranks());
    return replica;
  }

  ~BenchReplica() {
    const Status sent = links_.coordinator->send(step::Shutdown{"the benchmark ends"});
    (void)sent;  // ranks that failed are gone already
    for (std::thread& thread : threads_) thread.join();
  }

  const std::string& device() const { return device_; }
  const step::StageTiming& timing() const { return timing_; }

  // Seconds from the plan's sending until every rank is done with it.
  Result<double> run(step::StepPlan plan) {
    const int64_t start_ns = clock_.now_ns();
    TRY(send(std::move(plan)));
    TRY(wait());
    return seconds_since(start_ns);
  }

  // Seconds a step, each plan sent while the ranks have the one before, as scheduler.run_ahead
  // does. The first of them only gets the others going: at least two.
  Result<double> run_ahead(std::vector<step::StepPlan> plans) {
    CHECK_GE(plans.size(), 2u);
    const auto n_timed = static_cast<double>(plans.size() - 1);
    TRY(send(std::move(plans[0])));
    int64_t start_ns = 0;
    for (size_t i = 1; i <= plans.size(); ++i) {
      if (i < plans.size()) TRY(send(std::move(plans[i])));
      TRY(wait());
      if (i == 1) start_ns = clock_.now_ns();
    }
    return seconds_since(start_ns) / n_timed;
  }

 private:
  BenchReplica(const EngineBenchOptions& options, const plan::ParallelPlan& plan, int n_threads)
      : options_(options), plan_(plan), n_threads_(n_threads) {}

  Status send(step::StepPlan plan) {
    plan.header = {.epoch = 1, .step = StepId(++n_steps_), .shape_hash = step::shape_hash(plan)};
    plan.deadline_ns = kStepDeadlineNs;
    return links_.coordinator->send(std::move(plan));
  }

  // Until every rank is done with the next step.
  Status wait() {
    for (size_t n_done = 0; n_done < threads_.size();) {
      ASSIGN_OR_RETURN(const step::RankEvent event, next_event());
      if (const auto* timings = std::get_if<step::StepTimings>(&event)) {
        ++n_done;
        if (n_done == 1 || timings->timing.worker_rank == 0) timing_ = timings->timing;
      }
    }
    return {};
  }

  double seconds_since(int64_t start_ns) const {
    return static_cast<double>(clock_.now_ns() - start_ns) * 1e-9;
  }

  int max_batch() const {
    return *std::max_element(options_.batches.begin(), options_.batches.end());
  }

  std::vector<comm::Mesh> make_meshes() const {
    if (!options_.rank_shard.has_value()) {
      return comm::make_inproc_meshes(options_.tp, options_.pp, clock_);
    }
    std::vector<comm::Mesh> meshes(1);
    meshes[0].worker_rank = options_.rank_shard->rank;
    return meshes;
  }

  void stub_groups(comm::Mesh& mesh, kernels::Backend& backend) const {
    const RankShard shard = *options_.rank_shard;
    mesh.tp = std::make_unique<StubGroup>(shard.rank, shard.tp, backend);
    mesh.pp = std::make_unique<StubGroup>(0, 1, backend);
    mesh.world = std::make_unique<StubGroup>(shard.rank, shard.tp, backend);
    if (!options_.on_cuda) return;
    mesh.host = std::make_unique<comm::Mesh>();
    mesh.host->tp = std::make_unique<StubGroup>(shard.rank, shard.tp);
    mesh.host->pp = std::make_unique<StubGroup>(0, 1);
    mesh.host->world = std::make_unique<StubGroup>(shard.rank, shard.tp);
  }

  Status start_ranks() {
    std::vector<comm::Mesh> meshes = make_meshes();
    links_ = step::make_inproc_links(static_cast<int>(meshes.size()));
    for (size_t i = 0; i < meshes.size(); ++i) {
      threads_.emplace_back([this, i, mesh = std::move(meshes[i])]() mutable {
        run_rank(*links_.ranks[i], std::move(mesh));
      });
    }
    int64_t n_possible = INT64_MAX;
    for (size_t n_ready = 0; n_ready < threads_.size();) {
      ASSIGN_OR_RETURN(const step::RankEvent event, next_event());
      if (const auto* ready = std::get_if<step::RankReady>(&event)) {
        ++n_ready;
        n_possible = std::min(n_possible, ready->n_kv_blocks);
        device_ = ready->device;
      }
    }
    const auto blocks_of = [](int64_t n) { return (n + kBlockSize - 1) / kBlockSize; };
    // Every group of layers has its own; what leaves a window stays, since nothing else needs it.
    const auto n_groups =
        static_cast<int64_t>(plan::make_kv_layout(options_.spec, plan_).groups.size());
    const int64_t n_blocks =
        n_groups *
        std::max(blocks_of(options_.prompt_tokens),
                 max_batch() * blocks_of(options_.context_tokens + options_.output_tokens + 1));
    if (n_blocks > n_possible) {
      return resource_exhausted(fmt::format(
          "the benchmark needs {} KV blocks; there is memory for {}", n_blocks, n_possible));
    }
    return links_.coordinator->send(step::SetKvBlocks{n_blocks});
  }

  void run_rank(step::RankLink& link, comm::Mesh mesh) {
    const int worker_rank = mesh.worker_rank;
    WorkerOptions worker;
    worker.model_dir = options_.model_dir;
    worker.spec = options_.spec;
    worker.plan = plan_;
    worker.worker_rank = worker_rank;
    worker.block_size = kBlockSize;
    worker.max_step_tokens =
        std::max({options_.prompt_tokens, max_batch(), options_.context_tokens});
    worker.max_logits_rows = max_batch();
    worker.random_weights = options_.random_weights;
    worker.keep_low_bit = options_.keep_low_bit;
    worker.e4m3_kv = options_.e4m3_kv;
    worker.decode_graphs = options_.decode_graphs;
    auto backend = options_.on_cuda
                       ? kernels::make_cuda_backend({.compute_dtype = options_.compute_dtype,
                                                     .batch_invariant = options_.batch_invariant})
                       : kernels::make_cpu_backend(
                             {.compute_dtype = options_.compute_dtype, .n_threads = n_threads_});
    if (!backend.ok()) {
      report_failure(link, worker_rank, StepId(0), "starting", backend.error());
      return;
    }
    if (options_.rank_shard.has_value()) stub_groups(mesh, **backend);
    auto created = Worker::create(worker, std::move(mesh), std::move(*backend), clock_);
    if (!created.ok()) {
      report_failure(link, worker_rank, StepId(0), "loading", created.error());
      return;
    }
    const Status status = run_worker_loop(link, **created);
    (void)status;  // the driver has heard of it as a RankFailure
  }

  Result<step::RankEvent> next_event() {
    auto event = links_.coordinator->receive(kStepDeadlineNs);
    if (!event.has_value()) return deadline_exceeded("no rank of the benchmark answers");
    if (const auto* failure = std::get_if<step::RankFailure>(&*event)) {
      return internal_error(failure->message);
    }
    return std::move(*event);
  }

  const EngineBenchOptions& options_;
  const plan::ParallelPlan& plan_;
  int n_threads_;
  SystemClock clock_;
  step::InprocLinks links_;
  std::vector<std::thread> threads_;
  std::string device_;
  step::StageTiming timing_;
  uint64_t n_steps_ = 0;
};

class EngineBench {
 public:
  EngineBench(const EngineBenchOptions& options, const plan::ParallelPlan& plan,
              BenchReplica& replica, LimitMeter& meter)
      : options_(options),
        plan_(plan),
        n_groups_(static_cast<int32_t>(plan::make_kv_layout(options.spec, plan).groups.size())),
        replica_(replica),
        meter_(meter) {}

  Result<std::vector<EngineBenchLine>> run() {
    const int only_rank = options_.rank_shard.has_value() ? options_.rank_shard->rank : -1;
    ASSIGN_OR_RETURN(work_, work_of(options_, plan_, only_rank));
    TRY(prefill());
    for (const int batch : options_.batches) TRY(decode(batch));
    return std::move(lines_);
  }

 private:
  // One round: the limit, then the best of some steps.
  struct Round {
    double seconds = 0;
    double floor_seconds = 0;
    bool bound_by_memory = false;
    double collective_share = 0;
  };

  step::StepPlan prompt_plan(SequenceId id, int n_tokens, int32_t first_block) const {
    step::StepPlan plan;
    step::SamplingParams greedy;
    greedy.temperature = 0;
    plan.starts.push_back(
        {id, std::vector<int32_t>(static_cast<size_t>(n_tokens), kAnyToken), n_tokens, greedy});
    step::SequenceSpan span{.id = id, .n_tokens = n_tokens, .sample = true};
    add_blocks(plan, span, first_block, (n_tokens + kBlockSize - 1) / kBlockSize);
    plan.spans.push_back(std::move(span));
    return plan;
  }

  Status prefill() {
    std::vector<Round> rounds;
    step::StepPlan plan;
    for (int i = -1; i < options_.n_rounds; ++i) {  // the first warms up
      const MachineLimits limits = meter_.measure(kLimitSeconds);
      step::StepPlan next = prompt_plan(SequenceId(++n_sequences_), options_.prompt_tokens, 0);
      if (n_sequences_ > 1) next.releases.push_back(SequenceId(n_sequences_ - 1));
      ASSIGN_OR_RETURN(const double seconds, replica_.run(std::move(next)));
      if (i >= 0) rounds.push_back(round_of(seconds, limits, options_.prompt_tokens, 1));
    }
    report("prefill", fmt::format("{} tokens", options_.prompt_tokens), options_.prompt_tokens,
           rounds);
    return {};
  }

  Status decode(int batch) {
    const int32_t blocks_each =
        (options_.context_tokens + options_.output_tokens + kBlockSize) / kBlockSize;
    std::vector<SequenceId> ids;
    for (int i = 0; i < batch; ++i) {
      step::StepPlan plan =
          prompt_plan(SequenceId(++n_sequences_), options_.context_tokens, i * blocks_each);
      ids.push_back(SequenceId(n_sequences_));
      if (i == 0) plan.releases = std::move(to_release_);
      ASSIGN_OR_RETURN(const double seconds, replica_.run(std::move(plan)));
      (void)seconds;
    }
    to_release_ = ids;
    std::vector<Round> rounds;
    const int steps_per_round = std::max(1, options_.output_tokens / options_.n_rounds);
    int position = options_.context_tokens;
    const int end = options_.context_tokens + options_.output_tokens;
    while (position < end) {
      const MachineLimits limits = meter_.measure(kLimitSeconds);
      std::vector<step::StepPlan> plans;
      for (int i = 0; i < steps_per_round && position < end; ++i, ++position) {
        plans.push_back(decode_plan(ids, position, blocks_each));
      }
      ASSIGN_OR_RETURN(const double seconds, seconds_a_step(std::move(plans)));
      rounds.push_back(round_of(seconds, limits, batch, batch));
    }
    report("decode",
           fmt::format("{} streams from context {}{}", batch, options_.context_tokens,
                       options_.on_cuda ? ", plans a step ahead" : ""),
           batch, rounds);
    return {};
  }

  // As production runs them: on a device one plan ahead, and the mean says what its host costs;
  // else one by one, and the best is what others on the machine disturbed least.
  Result<double> seconds_a_step(std::vector<step::StepPlan> plans) {
    if (options_.on_cuda && plans.size() > 1) return replica_.run_ahead(std::move(plans));
    double best = 1e30;
    for (step::StepPlan& plan : plans) {
      ASSIGN_OR_RETURN(const double seconds, replica_.run(std::move(plan)));
      best = std::min(best, seconds);
    }
    return best;
  }

  step::StepPlan decode_plan(const std::vector<SequenceId>& ids, int position,
                             int32_t blocks_each) const {
    step::StepPlan plan;
    for (size_t i = 0; i < ids.size(); ++i) {
      step::SequenceSpan span{.id = ids[i],
                              .first_position = position,
                              .n_tokens = 1,
                              .token = kAnyToken,
                              .sample = true};
      if (position % kBlockSize == 0) {
        add_blocks(plan, span, static_cast<int32_t>(i) * blocks_each + position / kBlockSize, 1);
      }
      plan.spans.push_back(std::move(span));
    }
    return plan;
  }

  // Blocks [first, first + n) of every group, whose ids are dealt in turn.
  void add_blocks(step::StepPlan& plan, step::SequenceSpan& span, int32_t first, int32_t n) const {
    for (int32_t group = 0; group < n_groups_; ++group) {
      if (n_groups_ > 1) plan.n_group_blocks.push_back(n);
      for (int32_t block = first; block < first + n; ++block) {
        span.new_blocks.push_back(BlockId(block * n_groups_ + group));
      }
    }
  }

  Round round_of(double seconds, const MachineLimits& limits, double n_rows,
                 double n_sampled) const {
    const double rate = options_.compute_dtype == kernels::ComputeDType::kBF16
                            ? limits.bf16_compute_flops()
                            : limits.f32_flops;
    const double memory = work_.bytes(options_.spec, n_rows) / limits.read_bytes_per_second;
    const double compute = work_.flops(options_.spec, n_rows, n_sampled) / rate;
    const step::StageTiming& timing = replica_.timing();
    const auto total_ns = static_cast<double>(timing.compute_ns + timing.collective_ns +
                                              timing.wait_upstream_ns + timing.wait_downstream_ns);
    return {.seconds = seconds,
            .floor_seconds = std::max(memory, compute),
            .bound_by_memory = memory >= compute,
            .collective_share =
                total_ns > 0 ? static_cast<double>(timing.collective_ns) / total_ns : 0};
  }

  void report(const char* what, const std::string& batch, double n_tokens,
              const std::vector<Round>& rounds) {
    std::vector<double> seconds, floors, ratios, shares;
    for (const Round& round : rounds) {
      seconds.push_back(round.seconds);
      floors.push_back(round.floor_seconds);
      ratios.push_back(round.floor_seconds / round.seconds);
      shares.push_back(round.collective_share);
    }
    const plan::ModelSpec& spec = options_.spec;
    EngineBenchLine line;
    line.what = what;
    line.shape = fmt::format("{} layers of {}, vocabulary {}, {}, {}", spec.n_layers(), spec.hidden,
                             spec.vocab, plan_.to_string(), batch);
    line.tokens_per_second = n_tokens / median(seconds);
    line.limit_tokens_per_second = n_tokens / median(floors);
    line.percent_of_limit = 100 * median(ratios);
    line.bound = rounds.back().bound_by_memory ? "memory" : "compute";
    line.collective_share = median(shares);
    line.device = replica_.device();
    if (options_.rank_shard.has_value()) {
      line.note = fmt::format("rank {} of tp {} alone; collectives are stubbed and take no time",
                              options_.rank_shard->rank, options_.rank_shard->tp);
    }
    if (options_.on_line) options_.on_line(line);
    lines_.push_back(std::move(line));
  }

  const EngineBenchOptions& options_;
  const plan::ParallelPlan& plan_;
  const int32_t n_groups_;  // of layers: block tables of a sequence
  BenchReplica& replica_;
  LimitMeter& meter_;
  Work work_;
  uint64_t n_sequences_ = 0;
  std::vector<SequenceId> to_release_;
  std::vector<EngineBenchLine> lines_;
};

Status check_options(const EngineBenchOptions& options) {
  const auto in_range = [](int value, int low, int high) { return value >= low && value <= high; };
  if (options.batches.empty() ||
      !std::all_of(options.batches.begin(), options.batches.end(),
                   [&](int batch) { return in_range(batch, 1, 4096); })) {
    return invalid_argument("batch sizes must be from 1 to 4096");
  }
  if (!in_range(options.output_tokens, 1, 1 << 16) ||
      !in_range(options.context_tokens, 1, 1 << 16) || !in_range(options.n_rounds, 1, 1000)) {
    return invalid_argument("output tokens and context tokens must be from 1 to 65536");
  }
  if (!in_range(options.prompt_tokens, 1, options.spec.context) ||
      options.context_tokens + options.output_tokens > options.spec.context) {
    return invalid_argument(fmt::format(
        "{} prompt tokens, or {} output tokens behind {}, do not fit the model's context of {}",
        options.prompt_tokens, options.output_tokens, options.context_tokens,
        options.spec.context));
  }
  if (options.spec.vocab <= kAnyToken) return invalid_argument("the vocabulary is too small");
  if (options.rank_shard.has_value() &&
      !in_range(options.rank_shard->rank, 0, options.rank_shard->tp - 1)) {
    return invalid_argument(fmt::format("rank {} is not one of tp {}", options.rank_shard->rank,
                                        options.rank_shard->tp));
  }
  return {};
}

}  // namespace

Result<std::vector<EngineBenchLine>> run_engine_bench(const EngineBenchOptions& options) {
  TRY(check_options(options));
  const bool is_shard = options.rank_shard.has_value();
  ASSIGN_OR_RETURN(
      const plan::ParallelPlan plan,
      plan::make_parallel_plan(options.spec, {.tp = is_shard ? options.rank_shard->tp : options.tp,
                                              .pp = is_shard ? 1 : options.pp}));
  const int n_ranks = is_shard ? 1 : options.tp * options.pp;
  const int n_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int n_threads = options.n_threads > 0 ? options.n_threads : std::max(1, n_cores / n_ranks);
  if (options.on_cuda && n_ranks > 1) {
    return unimplemented(
        "the benchmark runs one rank on a GPU; --rank-shard tp=N,rank=R is one of N");
  }
  // A device is measured once, before its memory fills up.
  auto meter = options.on_cuda
                   ? kernels::cuda::make_device_limit_meter(0)
                   : LimitMeter::create(std::min(n_cores, n_threads * n_ranks), kLimitBytes);
  if (!meter.ok()) return meter.error();
  ASSIGN_OR_RETURN(const auto replica, BenchReplica::start(options, plan, n_threads));
  return EngineBench(options, plan, *replica, **meter).run();
}

}  // namespace trireme::worker
