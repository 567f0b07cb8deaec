#include "tests/unit/worker/live_replica.h"

#include <algorithm>
#include <sstream>

#include "base/check.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "parallel/plan/kv_layout.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/worker_loop.h"

namespace trireme::worker {
namespace {

constexpr int64_t kTimeoutNs = 120'000'000'000;

// Makes the backend on the rank's thread.
using MakeBackend = std::function<std::unique_ptr<kernels::Backend>()>;

void run_rank(const WorkerOptions& options, const MakeBackend& make_backend, comm::Mesh mesh,
              const Clock& clock, step::RankLink& link) {
  auto created = Worker::create(options, std::move(mesh), make_backend(), clock);
  if (!created.ok()) {
    report_failure(link, options.worker_rank, StepId(0), "loading", created.error());
    return;
  }
  const Status status = run_worker_loop(link, **created);
  (void)status;  // the coordinator has heard of it
}

}  // namespace

LiveReplica::LiveReplica(const LiveOptions& options) {
  const auto spec = plan::load_model_spec(options.model_dir);
  CHECK(spec.ok()) << spec.error().message;
  const auto plan = plan::make_parallel_plan(*spec, {.tp = options.tp, .pp = options.pp});
  CHECK(plan.ok()) << plan.error().message;
  const int n_ranks = options.tp * options.pp;
  links_ = step::make_inproc_links(n_ranks);
  std::vector<comm::Mesh> meshes = comm::make_inproc_meshes(options.tp, options.pp, clock_);
  for (int rank = 0; rank < n_ranks; ++rank) {
    WorkerOptions worker;
    worker.model_dir = options.model_dir;
    worker.spec = *spec;
    worker.plan = *plan;
    worker.worker_rank = rank;
    worker.e4m3_kv = options.e4m3_kv;
    worker.max_step_tokens = options.max_step_tokens;
    worker.max_logits_rows = std::max(options.max_step_tokens, options.max_running);
    worker.memory_bytes = int64_t{1} << 30;
    const auto at = static_cast<size_t>(rank);
    const MakeBackend make = [options] {
      return options.make_backend ? options.make_backend(options.compute)
                                  : make_test_backend("cpu", options.compute);
    };
    threads_.emplace_back([this, worker, make, at, mesh = std::move(meshes[at])]() mutable {
      run_rank(worker, make, std::move(mesh), clock_, *links_.ranks[at]);
    });
  }
  coordinator::CoordinatorOptions engine;
  engine.scheduler.max_step_tokens = options.max_step_tokens;
  engine.scheduler.max_running = options.max_running;
  engine.scheduler.max_kv_blocks = options.max_kv_blocks;
  engine.scheduler.prefix_cache = options.prefix_cache;
  engine.model = "live";
  engine.replica = "replica-0";
  engine.epoch = 1;
  engine.pp = options.pp;
  engine.run_ahead = options.run_ahead;
  engine.vocab = spec->vocab;
  engine.context = spec->context;
  engine.recompute_length = spec->recompute_length();
  engine.kv_groups = plan::make_kv_layout(*spec, *plan).groups;
  engine.warm_up = true;
  coordinator_ = std::make_unique<coordinator::Coordinator>(engine, clock_, *links_.coordinator,
                                                            *this, registry_);
  while (!coordinator_->ready()) turn();
}

LiveReplica::~LiveReplica() {
  const Status sent = links_.coordinator->send(step::Shutdown{"the test ends"});
  (void)sent;  // a rank that failed is gone already
  for (std::thread& thread : threads_) thread.join();
}

void LiveReplica::turn() {
  auto event = links_.coordinator->receive(kTimeoutNs);
  CHECK(event.has_value()) << "no rank says anything";
  Status status = coordinator_->on_rank_event(std::move(*event));
  CHECK(status.ok()) << status.error().message;
  status = coordinator_->tick(clock_.now_ns());
  CHECK(status.ok()) << status.error().message;
  most_blocks_used_ = std::max(most_blocks_used_, coordinator_->load().kv_blocks_used);
}

void LiveReplica::publish(coordinator::RouterId, wire::TokenBatch& batch) {
  for (wire::TokenUpdate& update : batch.updates) {
    LiveAnswer& answer = answers_[update.request];
    answer.tokens.insert(answer.tokens.end(), update.tokens.begin(), update.tokens.end());
    for (auto& position : update.logprobs) answer.logprobs.push_back(std::move(position));
    if (update.finish == wire::FinishReason::kNone) continue;
    answer.finish = update.finish;
    answer.cached_tokens = update.cached_tokens;
    if (update.error) answer.error = update.error->message;
    ++n_finished_;
  }
}

void LiveReplica::submit(const LiveRequest& request) {
  wire::Submit submit;
  submit.request = ++last_request_;
  submit.tenant = "t";
  submit.tokens = request.prompt;
  submit.n_prompt = static_cast<int32_t>(request.prompt.size());
  submit.tokens.insert(submit.tokens.end(), request.emitted.begin(), request.emitted.end());
  submit.resumed = !request.emitted.empty();
  submit.max_tokens = request.n_new;
  submit.sampling = request.sampling;
  submit.priority = request.priority;
  coordinator_->submit(coordinator::RouterId(0), std::move(submit));
}

std::vector<LiveAnswer> LiveReplica::run(const std::vector<LiveRequest>& requests,
                                         const std::vector<LiveRequest>& late,
                                         size_t late_after_tokens) {
  answers_.clear();
  n_finished_ = 0;
  const uint64_t first = last_request_ + 1;
  for (const LiveRequest& request : requests) submit(request);
  const Status status = coordinator_->tick(clock_.now_ns());
  CHECK(status.ok()) << status.error().message;
  bool all_submitted = late.empty();
  while (!all_submitted || n_finished_ < requests.size() + late.size()) {
    turn();
    const bool now = std::any_of(answers_.begin(), answers_.end(), [&](const auto& answer) {
      return answer.second.tokens.size() >= late_after_tokens;
    });
    if (all_submitted || !now) continue;
    for (const LiveRequest& request : late) submit(request);
    all_submitted = true;
  }
  std::vector<LiveAnswer> answers;
  for (uint64_t id = first; id <= last_request_; ++id) answers.push_back(answers_[id]);
  return answers;
}

int64_t LiveReplica::n_preemptions() const { return total_of("trireme_preemptions_total"); }

int64_t LiveReplica::n_steps_ahead() const { return total_of("trireme_steps_ahead_total"); }

// Over all of its labels.
int64_t LiveReplica::total_of(const std::string& counter) const {
  int64_t total = 0;
  std::istringstream lines(registry_.serialize());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(counter + "{")) total += std::stoll(line.substr(line.rfind(' ') + 1));
  }
  return total;
}

}  // namespace trireme::worker
