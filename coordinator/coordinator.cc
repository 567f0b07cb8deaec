#include "coordinator/coordinator.h"

#include <fmt/core.h>

#include <cmath>
#include <utility>

#include "coordinator/engine.h"

namespace trireme::coordinator {

namespace {

Status check_groups(const std::vector<plan::KvGroup>& groups) {
  if (groups.empty() || groups.size() > static_cast<size_t>(plan::kMaxKvGroups)) {
    return invalid_argument(fmt::format("kv_groups has {} groups, and must have 1 to {}",
                                        groups.size(), plan::kMaxKvGroups));
  }
  bool slides = false;
  for (const plan::KvGroup& group : groups) {
    if (group.is_full() && slides) {
      return invalid_argument("kv_groups has one that sees everything behind one that does not");
    }
    slides |= !group.is_full();
    if (!group.is_full() && group.span < 1) {
      return invalid_argument(fmt::format("kv_groups has a span of {} tokens", group.span));
    }
  }
  return {};
}

}  // namespace

Status validate(const CoordinatorOptions& options) {
  const SchedulerConfig& s = options.scheduler;
  const auto need = [](const char* name, int64_t value, int64_t low, int64_t high) -> Status {
    if (value >= low && value <= high) return {};
    return invalid_argument(
        fmt::format("{} is {}, and must be between {} and {}", name, value, low, high));
  };
  TRY(need("scheduler.block_size", s.block_size, 1, 4096));
  TRY(need("scheduler.max_kv_blocks", s.max_kv_blocks, 0, INT32_MAX));
  TRY(need("scheduler.max_step_tokens", s.max_step_tokens, 1, 1 << 20));
  if (options.embedding_width > 0 && (options.context > s.max_step_tokens || s.prefix_cache)) {
    return invalid_argument("an encoder's prompts are computed whole and share no prefixes");
  }
  TRY(need("scheduler.max_running", s.max_running, 1, 1 << 16));
  TRY(need("scheduler.max_waiting", s.max_waiting, 1, 1 << 20));
  TRY(need("scheduler.step_deadline", s.step_deadline_ns, 1, 86'400 * kSecondNs));
  TRY(need("pp", options.pp, 1, 1024));
  if (options.run_ahead && (options.pp > 1 || options.embedding_width > 0)) {
    return invalid_argument("only a single stage that samples can be sent a step ahead");
  }
  TRY(need("vocab", options.vocab, 1, 1 << 24));
  TRY(need("context", options.context, 1, 1 << 28));
  TRY(need("max_tenants", options.max_tenants, 1, 1 << 16));
  for (const TenantOptions& tenant : options.tenants) {
    TRY(need("tenant weight", tenant.weight, 1, 1000));
  }
  TRY(check_groups(options.kv_groups));
  const double price = options.price.usd_per_device_hour;
  if (!std::isfinite(price) || price < 0 || price > 1e6) {
    return invalid_argument(
        fmt::format("price.usd_per_device_hour is {}, and must be between 0 and 1000000", price));
  }
  return {};
}

Coordinator::Coordinator(const CoordinatorOptions& options, const Clock& clock,
                         step::CoordinatorLink& link, RouterSink& sink, MetricsRegistry& metrics)
    : engine_(std::make_unique<Engine>(options, clock, link, sink, metrics)) {}

Coordinator::~Coordinator() = default;

void Coordinator::submit(RouterId router, wire::Submit submit) {
  engine_->submit(router, std::move(submit));
}

void Coordinator::cancel(RouterId router, const wire::Cancel& cancel) {
  engine_->cancel(router, cancel.request);
}

void Coordinator::router_epoch(RouterId router, uint64_t epoch) {
  engine_->router_epoch(router, epoch);
}

void Coordinator::router_lost(RouterId router) { engine_->router_lost(router); }

Status Coordinator::on_rank_event(step::RankEvent event) {
  return engine_->on_rank_event(std::move(event));
}

Status Coordinator::tick(int64_t now_ns) { return engine_->tick(now_ns); }

int64_t Coordinator::next_tick_ns() const { return engine_->next_tick_ns(); }

void Coordinator::drain() { engine_->drain(); }

bool Coordinator::drained() const { return engine_->drained(); }

bool Coordinator::ready() const { return engine_->ready(); }

int64_t Coordinator::n_kv_blocks() const { return engine_->n_kv_blocks(); }

int32_t Coordinator::context() const { return engine_->limits().context(); }

int64_t Coordinator::n_steps() const { return engine_->n_steps(); }

wire::Load Coordinator::load() const { return engine_->load(); }

wire::LedgerReport Coordinator::ledger() const { return engine_->ledger(); }

}  // namespace trireme::coordinator
