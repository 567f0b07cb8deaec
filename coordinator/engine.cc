#include "coordinator/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/log.h"

namespace trireme::coordinator {

namespace {

constexpr size_t kMaxStepReports = 256;  // steps whose timings are still awaited from some rank

int64_t start_of(const CoordinatorOptions& options, const Clock& clock) {
  return options.started_ns != 0 ? options.started_ns : clock.now_ns();
}

}  // namespace

Engine::Engine(const CoordinatorOptions& options, const Clock& clock, step::CoordinatorLink& link,
               RouterSink& sink, MetricsRegistry& metrics)
    : options_(options),
      config_(options_.scheduler),
      budget_(options_.kv_groups, config_.block_size,
              static_cast<int64_t>(most_in_flight()) * config_.max_step_tokens),
      clock_(clock),
      link_(link),
      sink_(sink),
      limits_{options.vocab, options.context, &budget_, 0, 0, options.embedding_width > 0},
      ledger_(start_of(options, clock), link.n_ranks(),
              nano_usd(options.price.usd_per_device_hour)),
      tenants_(options.tenants, options.max_tenants),
      metrics_(metrics, {options.model, options.replica, options.context, link.n_ranks(),
                         options.vllm_metric_names}),
      ready_ranks_(static_cast<size_t>(link.n_ranks())),
      rank_reported_ns_(static_cast<size_t>(link.n_ranks()), 0) {
  const Status status = validate(options);
  CHECK(status.ok()) << status.error().message;
}

Engine::~Engine() = default;

Status Engine::fail(Error error) {
  fatal_ = std::move(error);
  return *fatal_;
}

Status Engine::on_rank_event(step::RankEvent event) {
  if (fatal_) return *fatal_;
  if (auto* result = std::get_if<step::StepResult>(&event)) return apply(std::move(*result));
  int32_t rank = 0;
  std::visit(
      [&](const auto& e) {
        using Event = std::decay_t<decltype(e)>;
        if constexpr (std::is_same_v<Event, step::StepTimings>) {
          rank = e.timing.worker_rank;
        } else if constexpr (!std::is_same_v<Event, step::StepResult>) {
          rank = e.worker_rank;
        }
      },
      event);
  if (rank < 0 || rank >= link_.n_ranks()) {
    return fail(internal_error(
        fmt::format("word came from rank {}, and there are {} ranks", rank, link_.n_ranks())));
  }
  if (const auto* ready = std::get_if<step::RankReady>(&event)) return on_ready(*ready);
  if (const auto* timings = std::get_if<step::StepTimings>(&event)) on_timings(*timings);
  if (const auto* failure = std::get_if<step::RankFailure>(&event)) return on_failure(*failure);
  return {};  // load progress is the owner's to show
}

void Engine::on_timings(const step::StepTimings& timings) {
  const step::StageTiming& t = timings.timing;
  const auto rank = static_cast<size_t>(t.worker_rank);
  const int64_t now_ns = clock_.now_ns();
  const int64_t told_ns =
      t.compute_ns + t.collective_ns + t.wait_upstream_ns + t.wait_downstream_ns;
  metrics_.add_stage_time(t, now_ns - rank_reported_ns_[rank] - told_ns);
  rank_reported_ns_[rank] = now_ns;
  metrics_.add_expert_load(timings.experts);

  if (timings.step.value() == 0 || timings.step.value() > last_step_) return;
  StepReports& reports = reports_[timings.step.value()];
  reports.seen.resize(ready_ranks_.size());
  if (reports.seen[rank]) return;
  reports.seen[rank] = true;
  if (t.compute_ns > reports.slowest_compute_ns) {
    reports.slowest_compute_ns = t.compute_ns;
    reports.slowest_rank = t.worker_rank;
  }
  if (++reports.n_seen == link_.n_ranks()) {
    metrics_.add_slowest(reports.slowest_rank);
    // Kept while the step is in flight: if its result never comes, no rank is to blame for silence.
    const bool done =
        !warm_up_ && (in_flight_.empty() || timings.step < in_flight_.front().header.step);
    if (done) {
      reports_.erase(timings.step.value());
    }
  }
  while (reports_.size() > kMaxStepReports) reports_.erase(reports_.begin());
}

Status Engine::on_failure(const step::RankFailure& failure) {
  if (!failure.op.empty()) metrics_.add_deadline_exceeded(failure.worker_rank, failure.op);
  return fail(unavailable(
      fmt::format("rank {} failed in step {} at {}: {}", failure.worker_rank, failure.step.value(),
                  failure.op.empty() ? "an unnamed operation" : failure.op, failure.message)));
}

// A rank that is late says so itself, and names the operation; the coordinator waits an eighth
// longer to hear it.
int64_t Engine::step_due_ns() const {
  const int64_t sent_ns = warm_up_ ? warm_up_->sent_ns : in_flight_.front().sent_ns;
  const int64_t begun_ns = std::max(sent_ns, last_result_ns_);
  return begun_ns + config_.step_deadline_ns + config_.step_deadline_ns / 8;
}

Status Engine::check_step_deadline(int64_t now_ns) {
  if ((in_flight_.empty() && !warm_up_) || now_ns < step_due_ns()) return {};
  const StepId step = warm_up_ ? warm_up_->header.step : in_flight_.front().header.step;
  const int64_t sent_ns = warm_up_ ? warm_up_->sent_ns : in_flight_.front().sent_ns;
  const size_t n_sequences = warm_up_ ? 1 : in_flight_.front().spans.size();
  const auto found = reports_.find(step.value());
  std::string silent;
  for (int32_t rank = 0; rank < link_.n_ranks(); ++rank) {
    if (found != reports_.end() && found->second.seen[static_cast<size_t>(rank)]) continue;
    metrics_.add_deadline_exceeded(rank, "unknown");
    silent += fmt::format("{}{}", silent.empty() ? "" : ", ", rank);
  }
  const std::string who = silent.empty()
                              ? std::string("every rank computed it, but its result never came")
                              : "no word of it from ranks " + silent;
  return fail(deadline_exceeded(
      fmt::format("step {} with {} sequences is not finished after {:.1f} s: {}", step.value(),
                  n_sequences, static_cast<double>(now_ns - sent_ns) * 1e-9, who)));
}

void Engine::expire_requests(int64_t now_ns) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    end(deadlines_.begin()->second,
        {.reason = wire::FinishReason::kError,
         .error = deadline_exceeded("the request's deadline passed before it was finished")},
        now_ns);
  }
}

Status Engine::tick(int64_t now_ns) {
  if (!fatal_ && !ready()) {
    metrics_.add_own_cost(LedgerPart::kStartup, ledger_.book(now_ns, LedgerPart::kStartup));
    (void)check_step_deadline(now_ns);  // it is told below
  }
  if (!fatal_ && ready()) {
    expire_requests(now_ns);
    Status status = check_step_deadline(now_ns);
    if (status.ok() && in_flight_.empty()) {
      metrics_.add_own_cost(LedgerPart::kIdle, ledger_.book(now_ns, LedgerPart::kIdle));
    }
    if (status.ok()) status = send_plans(now_ns);
  }
  // The ranks have their plan; now there is time for everything else.
  flush_updates();
  if (fatal_) return *fatal_;
  if (ready()) plan_ahead();
  update_gauges(now_ns);
  return {};
}

int64_t Engine::next_tick_ns() const {
  int64_t next_ns = INT64_MAX;
  if (!in_flight_.empty() || warm_up_) next_ns = step_due_ns();
  if (!deadlines_.empty()) next_ns = std::min(next_ns, deadlines_.begin()->first);
  return next_ns;
}

void Engine::flush_updates() {
  for (auto& [id, router] : routers_) {
    if (router.news.updates.empty()) continue;
    router.news.epoch = options_.epoch;
    sink_.publish(id, router.news);
    router.news.updates.clear();
  }
}

void Engine::update_gauges(int64_t now_ns) {
  EngineGauges gauges;
  gauges.running = n_resident();
  gauges.waiting = tenants_.n_waiting();
  if (ready()) {
    gauges.blocks_total = pool_->n_blocks();
    gauges.blocks_used = pool_->n_used();
    gauges.blocks_cached = pool_->n_cached();
    gauges.bytes_per_block = options_.kv_bytes_per_block;
  }
  metrics_.set_gauges(gauges);
  if (now_ns - gauges_ns_ < kSecondNs) return;
  gauges_ns_ = now_ns;
  metrics_.set_cost_per_million(ledger());
}

wire::Load Engine::load() const {
  wire::Load load;
  load.running = n_resident();
  load.waiting = tenants_.n_waiting();
  load.waiting_tokens = tenants_.waiting_tokens();
  load.kv_blocks_used = ready() ? pool_->n_used() : 0;
  load.kv_blocks_total = limits_.n_kv_blocks;
  load.draining = draining_;
  return load;
}

wire::LedgerReport Engine::ledger() const {
  wire::LedgerReport report;
  report.epoch = options_.epoch;
  report.device_ns = ledger_.device_ns();
  report.total_nano_usd = ledger_.total();
  report.prefill_nano_usd = ledger_.part(LedgerPart::kPrefill);
  report.decode_nano_usd = ledger_.part(LedgerPart::kDecode);
  report.idle_nano_usd = ledger_.part(LedgerPart::kIdle);
  report.startup_nano_usd = ledger_.part(LedgerPart::kStartup);
  report.recompute_nano_usd = ledger_.part(LedgerPart::kRecompute);
  report.resume_nano_usd = ledger_.part(LedgerPart::kResume);
  report.prompt_tokens = n_prompt_tokens_;
  report.cached_tokens = n_cached_tokens_;
  report.generated_tokens = n_generated_tokens_;
  return report;
}

}  // namespace trireme::coordinator
