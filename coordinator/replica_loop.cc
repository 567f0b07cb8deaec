#include "coordinator/replica_loop.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "base/log.h"
#include "parallel/launch/model_fingerprint.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/plan/memory_budget.h"

namespace trireme::coordinator {
namespace {

// How long a loop over an inproc link, which has no descriptor, may sleep while a step is out.
constexpr int64_t kInprocPollNs = kMillisecondNs / 2;

std::vector<TenantOptions> tenants_of(const ClusterConfig& config) {
  std::vector<TenantOptions> tenants;
  for (const KeyConfig& key : config.keys) {
    tenants.push_back({.name = key.name, .weight = key.weight});
  }
  return tenants;
}

int64_t kv_bytes_per_block(const ReplicaLoopOptions& options) {
  plan::MemoryInputs inputs;
  inputs.kv_dtype = plan::kv_dtype_of(options.config.model);
  inputs.block_size = options.config.scheduler.block_size;
  const plan::KvLayout layout = plan::make_kv_layout(options.spec, options.plan);
  int64_t bytes = 0;
  for (const plan::RankPlan& rank : options.plan.ranks) {
    bytes += plan::rank_memory(options.spec, layout, rank, inputs).kv_bytes_per_block;
  }
  return bytes;
}

int32_t context_of(const ReplicaLoopOptions& options) {
  const int32_t wanted = options.config.model.max_context;
  return wanted > 0 ? std::min(wanted, options.spec.context) : options.spec.context;
}

}  // namespace

ReplicaLoop::ReplicaLoop(ReplicaLoopOptions options, const Clock& clock,
                         step::CoordinatorLink& link)
    : options_(std::move(options)), clock_(clock), link_(link) {
  load_.resize(static_cast<size_t>(link.n_ranks()));
}

ReplicaLoop::~ReplicaLoop() = default;

Result<std::unique_ptr<ReplicaLoop>> ReplicaLoop::create(ReplicaLoopOptions options,
                                                         const Clock& clock,
                                                         step::CoordinatorLink& link,
                                                         MetricsRegistry& metrics) {
  auto loop = std::unique_ptr<ReplicaLoop>(new ReplicaLoop(std::move(options), clock, link));
  const ReplicaLoopOptions& o = loop->options_;
  ASSIGN_OR_RETURN(loop->routers_, RouterLinks::connect(o.config.router, o.curve));
  CoordinatorOptions engine;
  engine.scheduler = o.config.scheduler;
  engine.price = o.config.price;
  engine.replica = "replica-" + std::to_string(o.replica);
  engine.model = o.config.model.served_name;
  engine.epoch = o.epoch;
  engine.pp = o.plan.pp;
  engine.run_ahead = o.config.scheduler.run_ahead == "on" && o.plan.pp == 1 && !o.spec.encoder;
  engine.vocab = o.spec.vocab;
  engine.context = context_of(o);
  if (o.spec.encoder) {
    engine.embedding_width = o.spec.hidden;
    engine.context = std::min(engine.context, o.config.scheduler.max_step_tokens);
    engine.scheduler.prefix_cache = false;
  }
  engine.recompute_length = o.spec.recompute_length();
  engine.rope_growth = o.spec.rope_growth();
  engine.kv_groups = plan::make_kv_layout(o.spec, o.plan).groups;
  engine.kv_bytes_per_block = kv_bytes_per_block(o);
  engine.started_ns = o.started_ns;
  engine.tenants = tenants_of(o.config);
  engine.warm_up = true;
  engine.vllm_metric_names = o.config.router.vllm_metric_names;
  TRY(validate(engine));
  loop->coordinator_ = std::make_unique<Coordinator>(engine, clock, link, *loop->routers_, metrics);
  return loop;
}

Status ReplicaLoop::run() {
  while (!stop_asked()) {
    notice_stop(clock_.now_ns());
    Status status = take_rank_events();
    const bool to_routers = announced_ && !quiet(clock_.now_ns());
    if (status.ok() && to_routers) status = routers_->receive(*coordinator_, clock_.now_ns());
    if (status.ok()) status = coordinator_->tick(clock_.now_ns());
    if (!status.ok()) {
      leave(status.error().message);
      return status;
    }
    if (to_routers) routers_->beat(*coordinator_, clock_.now_ns());
    wait(clock_.now_ns());
  }
  leave("the replica is shut down");
  return {};
}

Status ReplicaLoop::take_rank_events() {
  while (auto event = link_.receive(0)) {
    if (const auto* progress = std::get_if<step::LoadProgress>(&*event)) {
      step::LoadProgress& known = load_.at(static_cast<size_t>(progress->worker_rank));
      known = *progress;
      int64_t done = 0;
      int64_t total = 0;
      for (const step::LoadProgress& rank : load_) {
        done += rank.bytes_done;
        total += rank.bytes_total;
      }
      if (options_.on_load) options_.on_load(done, total);
      continue;
    }
    if (const auto* ready = std::get_if<step::RankReady>(&*event)) device_ = ready->device;
    TRY(coordinator_->on_rank_event(std::move(*event)));
    if (!announced_ && coordinator_->ready()) TRY(announce());
  }
  return {};
}

Status ReplicaLoop::announce() {
  wire::Hello hello;
  hello.replica = "replica-" + std::to_string(options_.replica);
  hello.epoch = options_.epoch;
  hello.model = options_.config.model.served_name;
  hello.plan = options_.plan.to_string();
  ASSIGN_OR_RETURN(
      hello.model_fingerprint,
      launch::model_fingerprint({.model_dir = options_.config.model.path,
                                 .random_weights = options_.config.model.random_weights,
                                 .plan = hello.plan,
                                 .compute_dtype = options_.config.model.compute_dtype,
                                 .kv_cache_dtype = options_.config.model.kv_cache_dtype,
                                 .quantized_weights = options_.config.model.quantized_weights,
                                 .device = device_}));
  hello.n_devices = options_.plan.tp * options_.plan.pp;
  hello.context = coordinator_->context();
  hello.vocab = options_.spec.vocab;
  hello.block_size = options_.config.scheduler.block_size;
  // In blocks of tokens: a sequence takes one for each of its block tables.
  const auto n_tables =
      static_cast<int64_t>(plan::make_kv_layout(options_.spec, options_.plan).groups.size());
  hello.n_kv_blocks = coordinator_->n_kv_blocks() / n_tables;
  hello.max_running = options_.config.scheduler.max_running;
  hello.embedding_width = options_.spec.encoder ? options_.spec.hidden : 0;
  log::info("ready: {} on {}, {} KV blocks of {} tokens in {} block table{} per sequence",
            hello.plan, device_, coordinator_->n_kv_blocks(), hello.block_size, n_tables,
            n_tables == 1 ? "" : "s");
  routers_->announce(std::move(hello), clock_.now_ns());
  announced_ = true;
  return {};
}

// Routers have given its streams to others by now. If its ranks have given it up too, mpirun is
// ending this job, and a stream that it were given would only be lost again.
void ReplicaLoop::notice_stop(int64_t now_ns) {
  const int64_t limit_ns = options_.config.scheduler.rank_dead_ns;
  if (last_turn_ns_ != 0 && now_ns - last_turn_ns_ > limit_ns) {
    log::warn("this process was stopped for {:.1f} s; it says nothing to routers for {:.1f} s",
              static_cast<double>(now_ns - last_turn_ns_) / 1e9,
              static_cast<double>(limit_ns) / 1e9);
    quiet_until_ns_ = now_ns + limit_ns;
  }
  last_turn_ns_ = now_ns;
}

void ReplicaLoop::wait(int64_t now_ns) {
  const bool is_quiet = quiet(now_ns);
  const int64_t speak_ns = is_quiet ? quiet_until_ns_ : routers_->next_beat_ns();
  const int64_t next_ns = std::min(coordinator_->next_tick_ns(), speak_ns);
  int64_t timeout_ns = next_ns == INT64_MAX ? kSecondNs : std::max<int64_t>(0, next_ns - now_ns);
  timeout_ns = std::min(timeout_ns, kSecondNs);
  std::vector<pollfd> fds;
  if (!is_quiet) {
    for (const int fd : routers_->event_fds()) fds.push_back({fd, POLLIN, 0});
  }
  if (options_.stop_fd >= 0) fds.push_back({options_.stop_fd, POLLIN, 0});
  if (link_.event_fd() >= 0) {
    fds.push_back({link_.event_fd(), POLLIN, 0});
  } else {
    timeout_ns = std::min(timeout_ns, kInprocPollNs);
  }
  const timespec timeout{.tv_sec = timeout_ns / kSecondNs, .tv_nsec = timeout_ns % kSecondNs};
  ppoll(fds.data(), fds.size(), &timeout, nullptr);
}

bool ReplicaLoop::stop_asked() const {
  if (options_.stop_fd < 0) return false;
  pollfd fd{options_.stop_fd, POLLIN, 0};
  return poll(&fd, 1, 0) == 1;
}

void ReplicaLoop::leave(const std::string& reason) {
  routers_->say_goodbye(reason);
  const Status told = link_.send(step::Shutdown{.reason = reason});
  if (!told.ok()) log::debug("{}", told.error().message);
}

}  // namespace trireme::coordinator
