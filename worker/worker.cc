#include "worker/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "base/log.h"
#include "parallel/plan/memory_budget.h"
#include "worker/models/declare.h"
#include "worker/sample/counter_random.h"

namespace trireme::worker {
namespace {

// A digest of everything that ranks must have in common before they compute together.
class SetupDigest {
 public:
  template <typename Int>
  SetupDigest& add(Int value) {
    digest_ = mix64(digest_ + 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(value));
    return *this;
  }
  SetupDigest& add_float(double value) { return add(std::bit_cast<uint64_t>(value)); }
  uint64_t value() const { return digest_; }

 private:
  uint64_t digest_ = 0;
};

// What parts of a model differ in beside their sizes.
void add_parts(const plan::ModelSpec& spec, SetupDigest& digest) {
  digest.add_float(spec.embedding_scale).add_float(spec.logit_scale);
  digest.add_float(spec.attention_softcap).add_float(spec.logit_softcap);
  digest.add_float(spec.floor_scale).add_float(spec.temperature_scale);
  digest.add(spec.activation).add(spec.qk_norm);
  for (const plan::RopeSpec& rope : spec.ropes) {
    for (const std::vector<float>& set : rope.inv_freq_sets()) {
      for (const float frequency : set) digest.add_float(frequency);
    }
    digest.add_float(rope.cos_sin_scale()).add(rope.layout);
  }
  if (spec.mla) {
    digest.add(spec.mla->q_rank).add(spec.mla->kv_rank).add(spec.mla->nope_dim);
    digest.add(spec.mla->rope_dim).add(spec.mla->value_dim);
  }
  if (!spec.moe) return;
  const plan::MoeSpec& moe = *spec.moe;
  digest.add(moe.n_experts).add(moe.top_k).add(moe.width).add(moe.shared_width);
  digest.add(moe.shared_gate).add(moe.scoring).add(moe.group_score).add(moe.n_groups);
  digest.add(moe.n_chosen_groups).add(moe.renormalize).add_float(moe.weight_scale);
  digest.add(moe.choice_bias).add(moe.scales_input).add_float(moe.swiglu_limit);
}

uint64_t setup_digest(const WorkerOptions& options, kernels::ComputeDType compute) {
  const plan::ModelSpec& spec = options.spec;
  SetupDigest digest;
  for (const char c : spec.family) digest.add(c);
  digest.add(spec.hidden).add(spec.n_heads).add(spec.n_kv_heads).add(spec.head_dim);
  digest.add(spec.intermediate).add(spec.vocab).add(spec.context).add(spec.n_parameters());
  digest.add_float(spec.norm_eps).add(spec.tied_embeddings).add(spec.n_active_parameters());
  digest.add_float(spec.attention_scale).add_float(spec.residual_scale);
  for (const plan::LayerSpec& layer : spec.layers) {
    digest.add(layer.attention).add(layer.span).add(layer.rope).add(layer.moe);
  }
  add_parts(spec, digest);
  const plan::KvLayout layout = plan::make_kv_layout(spec, options.plan);
  for (const plan::KvGroup& group : layout.groups) digest.add(group.attention).add(group.span);
  for (const plan::KvPlace& place : layout.layers) digest.add(place.group).add(place.slot);
  digest.add(options.plan.tp).add(options.plan.pp);
  for (const plan::RankPlan& rank : options.plan.ranks) {
    digest.add(rank.layers.begin).add(rank.layers.end).add(rank.heads.end).add(rank.kv_heads.end);
    digest.add(rank.intermediate.end).add(rank.vocab.end);
    digest.add(rank.experts.end).add(rank.expert_columns.end).add(rank.shared_columns.end);
  }
  digest.add(options.block_size).add(options.max_step_tokens).add(options.max_logits_rows);
  digest.add(options.random_weights).add(options.random_seed).add(compute);
  digest.add(options.keep_low_bit).add(options.e4m3_kv).add(options.min_bytes_in_parts);
  return digest.value();
}

// What a rank tells all others before anything is loaded.
struct SetupRecord {
  uint64_t digest = 0;   // equal on all
  uint64_t machine = 0;  // equal on the ranks of a machine
};

// Hidden states of a step that are sent while the next one computes: enough for decode steps and
// usual chunks.
constexpr int64_t kMaxBytesAside = int64_t{64} << 20;

// Some megabytes for each of the sizes that decode steps are recorded in.
constexpr int64_t kGraphReserveBytes = int64_t{1} << 30;

std::string gigabytes(int64_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

}  // namespace

Worker::Worker(WorkerOptions options, comm::Mesh mesh, std::unique_ptr<kernels::Backend> backend,
               const Clock& clock)
    : options_(std::move(options)),
      mesh_(std::move(mesh)),
      backend_(std::move(backend)),
      clock_(clock) {}

DType Worker::compute_dtype() const {
  return backend_->compute_dtype() == kernels::ComputeDType::kBF16 ? DType::kBF16 : DType::kF32;
}

Result<std::unique_ptr<Worker>> Worker::create(WorkerOptions options, comm::Mesh mesh,
                                               std::unique_ptr<kernels::Backend> backend,
                                               const Clock& clock, LoadProgressFn progress) {
  std::unique_ptr<Worker> worker(
      new Worker(std::move(options), std::move(mesh), std::move(backend), clock));
  Status status = worker->check_options();
  if (status.ok()) status = worker->agree_on_setup();
  if (status.ok()) status = worker->check_memory();
  if (status.ok()) status = worker->load(progress);
  if (!status.ok()) {
    worker->abort(fmt::format("rank {} could not start: {}", worker->options_.worker_rank,
                              status.error().message));
    return status.error();
  }
  return worker;
}

Status Worker::check_options() const {
  const plan::ParallelPlan& plan = options_.plan;
  const auto n_ranks = static_cast<int64_t>(plan.ranks.size());
  if (options_.worker_rank < 0 || options_.worker_rank >= n_ranks) {
    return invalid_argument(
        fmt::format("rank {} is not in a plan of {} ranks", options_.worker_rank, n_ranks));
  }
  if (mesh_.tp->size() != plan.tp || mesh_.pp->size() != plan.pp ||
      mesh_.tp->rank() != rank().tp_rank || mesh_.pp->rank() != rank().stage) {
    return invalid_argument(
        fmt::format("rank {} stands at tp {} of {}, stage {} of {}, which is not its place in {}",
                    options_.worker_rank, mesh_.tp->rank(), mesh_.tp->size(), mesh_.pp->rank(),
                    mesh_.pp->size(), plan.to_string()));
  }
  if (options_.block_size < 16 || options_.block_size % 16 != 0 || options_.block_size > 4096) {
    return invalid_argument(
        fmt::format("block_size {} is not a multiple of 16 up to 4096", options_.block_size));
  }
  constexpr int64_t kMaxRows = 1 << 20;
  if (options_.max_step_tokens < 1 || options_.max_step_tokens > kMaxRows ||
      options_.max_logits_rows < 1 || options_.max_logits_rows > kMaxRows) {
    return invalid_argument(fmt::format("a step of {} tokens and {} logits rows is out of range",
                                        options_.max_step_tokens, options_.max_logits_rows));
  }
  if (!(options_.utilisation > 0 && options_.utilisation <= 1)) {
    return invalid_argument(
        fmt::format("utilisation {} is not between 0 and 1", options_.utilisation));
  }
  return {};
}

// The one collective over the whole replica: ranks that were started with different models or plans
// find out before they load anything, and all hear who shares a machine.
Status Worker::agree_on_setup() {
  const int64_t start_ns = clock_.now_ns();
  StepContext context;
  context.backend = backend_.get();
  context.clock = &clock_;
  context.deadline_ns = start_ns + options_.startup_deadline_ns;
  HostExchange exchange(*backend_, *mesh_.world, mesh_.host_world());
  const SetupRecord mine{.digest = setup_digest(options_, backend_->compute_dtype()),
                         .machine = std::hash<std::string>()(options_.machine)};
  std::vector<std::byte> record(sizeof(mine));
  std::memcpy(record.data(), &mine, sizeof(mine));
  std::vector<std::byte> all;
  TRY(exchange.all_gather(record, all, "startup all_gather", context));
  startup_comm_ns_ = clock_.now_ns() - start_ns;
  std::vector<uint64_t> machines;
  for (size_t other = 0; other * sizeof(SetupRecord) < all.size(); ++other) {
    SetupRecord theirs;
    std::memcpy(&theirs, all.data() + other * sizeof(theirs), sizeof(theirs));
    if (theirs.digest != mine.digest) {
      return failed_precondition(
          fmt::format("rank {} and rank {} were started with different models, plans or limits",
                      options_.worker_rank, other));
    }
    machines.push_back(theirs.machine);
  }
  stage_link_ = {.between_machines = boundaries_between_machines(machines, options_.plan.tp),
                 .min_bytes_in_parts = options_.min_bytes_in_parts};
  if (options_.worker_rank == 0 && options_.plan.tp > 1 &&
      std::ranges::count(stage_link_.between_machines, true) > 0) {
    log::info("hidden states of {} bytes and more travel between machines in {} parts",
              options_.min_bytes_in_parts, options_.plan.tp);
  }
  return {};
}

// Said before a byte is loaded, with the numbers.
Status Worker::check_memory() {
  int64_t memory_bytes = options_.memory_bytes;
  if (memory_bytes <= 0) {
    ASSIGN_OR_RETURN(const size_t free_bytes, backend_->free_memory_bytes());
    memory_bytes = static_cast<int64_t>(free_bytes);
    if (on_device()) free_before_load_bytes_ = memory_bytes;
  }
  const plan::MemoryInputs inputs{.weight_dtype = compute_dtype(),
                                  .keep_low_bit = options_.keep_low_bit,
                                  .kv_dtype = kv_dtype(),
                                  .block_size = options_.block_size,
                                  .max_step_tokens = static_cast<int32_t>(options_.max_step_tokens),
                                  .max_logits_rows = static_cast<int32_t>(options_.max_logits_rows),
                                  .memory_bytes = memory_bytes,
                                  .utilisation = options_.utilisation};
  usable_bytes_ = static_cast<int64_t>(static_cast<double>(memory_bytes) * options_.utilisation);
  plan::RankMemory need =
      plan::rank_memory(options_.spec, options_.plan, options_.worker_rank, inputs);
  if (on_device() && !rank().last_stage) {
    const int64_t most = options_.max_step_tokens * options_.spec.hidden * int64_t{sizeof(float)};
    stage_link_.max_bytes_aside = static_cast<size_t>(std::min(most, kMaxBytesAside));
    need.activation_bytes += 2 * static_cast<int64_t>(stage_link_.max_bytes_aside);
  }
  if (steps_ahead() && rank().first_stage && rank().last_stage) {
    need.activation_bytes += max_kept_rows(options_.max_logits_rows, rank().vocab_padded) *
                             rank().vocab_padded * int64_t{sizeof(float)};
  }
  activation_bytes_ = need.activation_bytes;
  if (on_device() && options_.decode_graphs) {
    graph_reserve_bytes_ = std::min(kGraphReserveBytes, usable_bytes_ / 50);
  }
  if (need.weight_bytes + need.activation_bytes + need.kv_bytes_per_block > usable_bytes_) {
    // The planner's sentence says what would fit.
    TRY(plan::plan_kv_blocks(options_.spec, options_.plan, inputs, 1));
    return resource_exhausted(fmt::format(
        "rank {} needs {} for weights and {} for activations, and may use {}", options_.worker_rank,
        gigabytes(need.weight_bytes), gigabytes(need.activation_bytes), gigabytes(usable_bytes_)));
  }
  return {};
}

Status Worker::load(const LoadProgressFn& progress) {
  const int64_t start_ns = clock_.now_ns();
  std::unique_ptr<WeightSource> source;
  if (options_.random_weights) {
    source =
        make_random_weights(options_.random_seed, options_.keep_low_bit ? options_.spec.quantization
                                                                        : plan::QuantizationSpec{});
  } else {
    ASSIGN_OR_RETURN(source, open_checkpoint(options_.model_dir, options_.spec.quantization));
    const bool expands = !options_.keep_low_bit && !source->note().empty();
    if (options_.worker_rank == 0 && expands) log::info("{}", source->note());
  }
  ASSIGN_OR_RETURN(const auto declared, declare_weights(options_.spec, options_.plan));
  ASSIGN_OR_RETURN(
      ShardLoader loader,
      ShardLoader::create(
          options_.spec.architecture, declared, options_.worker_rank, *source, *backend_, progress,
          options_.keep_low_bit ? QuantizedWeights::kKeep : QuantizedWeights::kExpand));
  PartLoader parts(options_.spec, rank(), *mesh_.tp, loader);
  ASSIGN_OR_RETURN(model_, make_model(parts));
  weight_bytes_ = loader.device_bytes();
  if (const std::string note = loader.low_bit_note(); !note.empty()) {
    log::info("rank {}: {}, {} of weights in all", options_.worker_rank, note,
              gigabytes(weight_bytes_));
  }
  TRY(model_->allocate(*backend_, options_.max_step_tokens, options_.max_logits_rows));
  TRY(shape_kv(*source));
  load_ns_ = clock_.now_ns() - start_ns;
  int64_t used_bytes = weight_bytes_ + activation_bytes_;
  if (free_before_load_bytes_ > 0) {
    // A device says what loading really took: rounding and libraries' workspaces are in it.
    ASSIGN_OR_RETURN(const size_t free_bytes, backend_->free_memory_bytes());
    const int64_t measured = free_before_load_bytes_ - static_cast<int64_t>(free_bytes);
    log::info("rank {}: {} planned for weights and activations, {} taken by them",
              options_.worker_rank, gigabytes(used_bytes), gigabytes(measured));
    used_bytes = std::max(used_bytes, measured);
  }
  const int64_t left = usable_bytes_ - used_bytes - graph_reserve_bytes_;
  n_kv_blocks_possible_ = std::clamp<int64_t>(left / kv_shape_.bytes_per_block(), 0, INT32_MAX);
  // One block belongs to the rows that a recorded step is padded with.
  if (graph_reserve_bytes_ > 0)
    n_kv_blocks_possible_ = std::max<int64_t>(0, n_kv_blocks_possible_ - 1);
  const auto n_needed = static_cast<int64_t>(kv_layout_.groups.size());
  if (n_kv_blocks_possible_ < n_needed) {
    return resource_exhausted(
        fmt::format("rank {} holds {} of weights and {} of activations, and may use {}: {} KV "
                    "blocks of {} bytes do not fit",
                    options_.worker_rank, gigabytes(weight_bytes_), gigabytes(activation_bytes_),
                    gigabytes(usable_bytes_), n_needed, kv_shape_.bytes_per_block()));
  }
  return {};
}

Status Worker::shape_kv(const WeightSource& source) {
  kv_layout_ = plan::make_kv_layout(options_.spec, options_.plan);
  const plan::Range layers = rank().layers;
  kv_shape_ = {
      .layers = {kv_layout_.layers.begin() + layers.begin, kv_layout_.layers.begin() + layers.end},
      .n_slots = kv_layout_.n_slots[static_cast<size_t>(rank().stage)],
      .n_kv_heads = rank().kv_heads.size(),
      .head_dim = options_.spec.head_dim,
      .latent_width = options_.spec.mla ? options_.spec.mla->latent_width() : 0,
      .block_size = options_.block_size,
      .dtype = kv_dtype()};
  if (!options_.e4m3_kv) return {};
  ASSIGN_OR_RETURN(const auto scales, source.kv_scales());
  for (const auto& [layer, scale] : scales) {
    if (layer >= options_.spec.n_layers()) {
      return invalid_argument(fmt::format(
          "the checkpoint has scales for the cache of layer {}; the model has {} layers", layer,
          options_.spec.n_layers()));
    }
  }
  for (int64_t layer = layers.begin; layer < layers.end; ++layer) {
    const auto found = scales.find(layer);
    kv_shape_.scales.push_back(found == scales.end() ? KvScales() : found->second);
  }
  if (options_.worker_rank == 0) {
    log::info("keys and values are cached as e4m3; the checkpoint has scales for {} of {} layers",
              scales.size(), options_.spec.n_layers());
  }
  return {};
}

Status Worker::allocate_kv(int64_t n_blocks) {
  if (executor_ != nullptr) return failed_precondition("the KV blocks are already allocated");
  if (n_blocks > n_kv_blocks_possible_) {
    return resource_exhausted(fmt::format("{} KV blocks were asked for; rank {} has memory for {}",
                                          n_blocks, options_.worker_rank, n_kv_blocks_possible_));
  }
  const bool graphs = graph_reserve_bytes_ > 0;
  ASSIGN_OR_RETURN(kv_, KvCache::allocate(*backend_, kv_shape_, n_blocks + (graphs ? 1 : 0)));
  const TableLimits limits{.vocab = options_.spec.vocab,
                           .context = options_.spec.context,
                           .block_size = options_.block_size,
                           .n_blocks = n_blocks,
                           .kv_groups = kv_layout_.groups,
                           .max_step_tokens = options_.max_step_tokens,
                           .max_logits_rows = options_.max_logits_rows,
                           .recompute_length = options_.spec.recompute_length(),
                           .rope_growth = options_.spec.rope_growth(),
                           .encoder = options_.spec.encoder.has_value()};
  const ExecutorInputs inputs{.spec = options_.spec,
                              .rank = rank(),
                              .limits = limits,
                              .model = *model_,
                              .kv = *kv_,
                              .backend = *backend_,
                              .mesh = mesh_,
                              .clock = clock_,
                              .default_deadline_ns = options_.step_deadline_ns,
                              .scan_on_device = options_.scan_on_device.value_or(on_device()),
                              .decode_graphs = graphs,
                              .steps_ahead = steps_ahead(),
                              .stage_link = stage_link_,
                              .logits_observer = options_.logits_observer};
  ASSIGN_OR_RETURN(executor_, StepExecutor::create(inputs));
  return report_memory(n_blocks);
}

// Where a device's memory went, once all of it is taken; what is left has to hold the graphs, and
// what libraries take for themselves.
Status Worker::report_memory(int64_t n_blocks) const {
  if (!on_device()) return {};
  ASSIGN_OR_RETURN(const size_t free_bytes, backend_->free_memory_bytes());
  log::info(
      "rank {} memory: {} of weights, {} planned for activations, {} in {} KV blocks, {} kept for "
      "recorded steps, {} free",
      options_.worker_rank, gigabytes(weight_bytes_), gigabytes(activation_bytes_),
      gigabytes(n_blocks * kv_shape_.bytes_per_block()), n_blocks, gigabytes(graph_reserve_bytes_),
      gigabytes(static_cast<int64_t>(free_bytes)));
  if (static_cast<int64_t>(free_bytes) >= graph_reserve_bytes_) return {};
  return resource_exhausted(
      fmt::format("rank {} has {} of device memory left beside weights, activations and {} KV "
                  "blocks, and keeps {} for "
                  "recorded steps: lower `replicas.memory_utilisation`",
                  options_.worker_rank, gigabytes(static_cast<int64_t>(free_bytes)), n_blocks,
                  gigabytes(graph_reserve_bytes_)));
}

Result<std::optional<step::StepResult>> Worker::execute(const step::StepPlan& plan) {
  TRY(begin(plan));
  return finish();
}

Status Worker::begin(step::StepPlan plan) {
  if (executor_ == nullptr) return failed_precondition("the KV blocks are not allocated yet");
  return executor_->begin(std::move(plan));
}

Result<std::optional<step::StepResult>> Worker::finish() {
  CHECK(executor_ != nullptr);
  return executor_->finish();
}

bool Worker::may_begin_next() const { return executor_ != nullptr && executor_->may_begin_next(); }

Result<bool> Worker::all_would_begin(bool mine) {
  CHECK(executor_ != nullptr);
  return executor_->all_would_begin(mine);
}

bool Worker::is_device_done() const { return executor_ == nullptr || executor_->is_device_done(); }

const step::StageTiming& Worker::last_timing() const {
  CHECK(executor_ != nullptr);
  return executor_->last_timing();
}

const step::ExpertLoad& Worker::last_expert_load() const {
  CHECK(executor_ != nullptr);
  return executor_->last_expert_load();
}

std::string Worker::last_op() const { return executor_ == nullptr ? "" : executor_->last_op(); }

void Worker::abort(std::string_view reason) { mesh_.abort(reason); }

}  // namespace trireme::worker
