#include "worker/worker_loop.h"

#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "base/log.h"

namespace trireme::worker {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

// A device should not wait for its host. While it works on a step, the rank hears the next command;
// and if that is a plan, the device gets it before the coordinator is told of the step that is
// done, and where it can before that step is done at all.
class Loop {
 public:
  Loop(step::RankLink& link, Worker& worker) : link_(link), worker_(worker) {}

  Status run();

 private:
  Result<step::RankCommand> next_command();
  Status set_kv_blocks(const step::SetKvBlocks& command);
  Status run_plans(step::StepPlan plan);
  bool heard_a_plan() const;
  step::StepPlan take_plan();
  Result<bool> all_go_on();
  Status tell();
  void listen();
  Error fail(StepId step, const Error& error);

  step::RankLink& link_;
  Worker& worker_;
  std::optional<step::RankCommand> next_;  // heard ahead
  // Of the step before; tell() sends them.
  std::optional<step::StepResult> result_;
  std::optional<step::StepTimings> timings_;
};

Result<step::RankCommand> Loop::next_command() {
  if (!next_.has_value()) return link_.receive();
  step::RankCommand command = std::move(*next_);
  next_.reset();
  return command;
}

bool Loop::heard_a_plan() const {
  return next_.has_value() && std::holds_alternative<step::StepPlan>(*next_);
}

step::StepPlan Loop::take_plan() {
  step::StepPlan plan = std::move(std::get<step::StepPlan>(*next_));
  next_.reset();
  return plan;
}

// Until a command is here, or the device has nothing more to do. A link that is lost says so again
// to whoever asks it next.
void Loop::listen() {
  while (!next_.has_value()) {
    const bool done = worker_.is_device_done();
    auto heard = link_.poll();
    if (!heard.ok()) return;
    next_ = std::move(*heard);
    if (done) return;
    if (!next_.has_value()) std::this_thread::yield();
  }
}

// The result first: the coordinator waits for it, and only counts the timings.
Status Loop::tell() {
  if (result_.has_value()) TRY(link_.send(std::move(*std::exchange(result_, std::nullopt))));
  if (timings_.has_value()) TRY(link_.send(std::move(*std::exchange(timings_, std::nullopt))));
  return {};
}

Error Loop::fail(StepId step, const Error& error) {
  report_failure(link_, worker_.worker_rank(), step, worker_.last_op(), error);
  return error;
}

// Whether the plan that was heard begins before the step under way is finished.
Result<bool> Loop::all_go_on() {
  if (!worker_.may_begin_next()) return false;
  return worker_.all_would_begin(heard_a_plan());
}

// The plan, and those behind it that could begin before the one before was finished.
Status Loop::run_plans(step::StepPlan plan) {
  StepId step = plan.header.step;
  Status begun = worker_.begin(std::move(plan));
  for (;;) {
    // Of the step before: while the device works, or where this one did not begin.
    const Status told = tell();
    if (!begun.ok()) return fail(step, begun.error());
    if (!told.ok()) log::debug("a result was not sent: {}", told.error().message);
    if (worker_.on_device() || worker_.may_begin_next()) listen();
    const StepId finishes = step;
    const Result<bool> goes_on = all_go_on();
    if (!goes_on.ok()) return fail(step, goes_on.error());
    if (*goes_on) {
      step::StepPlan next = take_plan();
      step = next.header.step;
      begun = worker_.begin(std::move(next));
    }
    auto result = worker_.finish();
    if (!result.ok()) return fail(finishes, result.error());
    if (!told.ok()) return told;
    result_ = std::move(*result);
    timings_ = step::StepTimings{
        .step = finishes, .timing = worker_.last_timing(), .experts = worker_.last_expert_load()};
    if (*goes_on) continue;
    return heard_a_plan() ? Status() : tell();
  }
}

Status Loop::set_kv_blocks(const step::SetKvBlocks& command) {
  Status status = worker_.allocate_kv(command.n_blocks);
  if (!status.ok()) {
    worker_.abort(status.error().message);
    report_failure(link_, worker_.worker_rank(), StepId(0), "allocating KV blocks", status.error());
  }
  return status;
}

Status Loop::run() {
  for (;;) {
    auto command = next_command();
    if (!command.ok()) {
      worker_.abort("the coordinator is lost");
      return command.error();
    }
    bool stop = false;
    const Status status = std::visit(
        Overloaded{[&](const step::SetKvBlocks& set) { return set_kv_blocks(set); },
                   [&](step::StepPlan& plan) { return run_plans(std::move(plan)); },
                   [&](const step::Shutdown& shutdown) {
                     log::debug("rank {} ends: {}", worker_.worker_rank(), shutdown.reason);
                     stop = true;
                     return Status();
                   }},
        *command);
    if (!status.ok()) return status;
    if (stop) return {};
  }
}

}  // namespace

LoadProgressFn report_progress(step::RankLink& link, int worker_rank) {
  return [&link, worker_rank, last_percent = int64_t{-1}](int64_t done, int64_t total) mutable {
    const int64_t percent = total > 0 ? done * 100 / total : 100;
    if (percent == last_percent) return;
    last_percent = percent;
    // A lost link is seen by the next receive; progress is not worth failing for.
    const Status sent = link.send(step::LoadProgress{worker_rank, done, total});
    if (!sent.ok()) log::debug("load progress was not sent: {}", sent.error().message);
  };
}

void report_failure(step::RankLink& link, int worker_rank, StepId step, const std::string& op,
                    const Error& error) {
  log::error("rank {} failed in step {} ({}): {}", worker_rank, step.value(), op,
             error.to_string());
  const Status sent = link.send(step::RankFailure{worker_rank, step, op, error.to_string()});
  if (!sent.ok()) log::warn("the failure was not sent: {}", sent.error().message);
}

Status run_worker_loop(step::RankLink& link, Worker& worker) {
  TRY(link.send(step::RankReady{.worker_rank = worker.worker_rank(),
                                .n_kv_blocks = worker.n_kv_blocks_possible(),
                                .weight_bytes = worker.weight_bytes(),
                                .load_ns = worker.load_ns(),
                                .startup_comm_ns = worker.startup_comm_ns(),
                                .device = worker.device()}));
  return Loop(link, worker).run();
}

}  // namespace trireme::worker
