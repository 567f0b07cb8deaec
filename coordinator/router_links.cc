#include "coordinator/router_links.h"

#include <fmt/format.h>

#include "base/log.h"

namespace trireme::coordinator {
namespace {

constexpr int64_t kLedgerIntervalNs = kSecondNs;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

Result<std::unique_ptr<RouterLinks>> RouterLinks::connect(
    const RouterConfig& config, const std::optional<wire::CurveClient>& curve) {
  auto links = std::unique_ptr<RouterLinks>(new RouterLinks(config));
  for (int i = 0; i < config.count; ++i) {
    const std::string address = fmt::format("tcp://{}:{}", config.wire_host, config.wire_port + i);
    Link link;
    ASSIGN_OR_RETURN(link.endpoint, wire::ReplicaEndpoint::connect(address, curve, {}));
    links->links_.push_back(std::move(link));
  }
  return links;
}

void RouterLinks::announce(wire::Hello hello, int64_t now_ns) {
  hello_ = std::move(hello);
  for (size_t i = 0; i < links_.size(); ++i) send(i, *hello_);
  next_beat_ns_ = now_ns + config_.heartbeat_ns;
}

Status RouterLinks::receive(Coordinator& coordinator, int64_t now_ns) {
  for (size_t i = 0; i < links_.size(); ++i) {
    Link& link = links_[i];
    while (auto message = link.endpoint->receive()) {
      link.last_heard_ns = now_ns;
      TRY(handle(coordinator, i, std::move(*message)));
    }
    if (link.last_heard_ns != 0 && now_ns - link.last_heard_ns > config_.replica_dead_ns) {
      log::warn("router {} is silent for {:.1f} s; its requests are cancelled", i,
                static_cast<double>(config_.replica_dead_ns) / 1e9);
      link.last_heard_ns = 0;
      link.epoch = 0;
      coordinator.router_lost(RouterId(static_cast<int32_t>(i)));
    }
  }
  return {};
}

Status RouterLinks::handle(Coordinator& coordinator, size_t index, wire::FromRouter message) {
  const RouterId router(static_cast<int32_t>(index));
  Link& link = links_[index];
  return std::visit(
      Overloaded{[&](wire::Welcome& welcome) -> Status {
                   if (link.epoch != welcome.router_epoch)
                     log::info("router {} welcomes us", index);
                   link.epoch = welcome.router_epoch;
                   coordinator.router_epoch(router, welcome.router_epoch);
                   return {};
                 },
                 [&](wire::Refused& refused) -> Status {
                   return failed_precondition("router " + std::to_string(index) +
                                              " refuses this replica: " + refused.reason);
                 },
                 [&](wire::HelloAgain&) -> Status {
                   if (hello_) send(index, *hello_);
                   return {};
                 },
                 [&](wire::RouterHeartbeat& beat) -> Status {
                   coordinator.router_epoch(router, beat.router_epoch);
                   return {};
                 },
                 [&](wire::Submit& submit) -> Status {
                   coordinator.submit(router, std::move(submit));
                   return {};
                 },
                 [&](wire::Cancel& cancel) -> Status {
                   coordinator.cancel(router, cancel);
                   return {};
                 },
                 [&](wire::Drain&) -> Status {
                   coordinator.drain();
                   return {};
                 }},
      message);
}

void RouterLinks::beat(const Coordinator& coordinator, int64_t now_ns) {
  if (!hello_ || now_ns < next_beat_ns_) return;
  next_beat_ns_ = now_ns + config_.heartbeat_ns;
  const wire::Heartbeat heartbeat{.epoch = hello_->epoch, .load = coordinator.load()};
  const bool ledger_due = now_ns >= next_ledger_ns_;
  if (ledger_due) next_ledger_ns_ = now_ns + kLedgerIntervalNs;
  for (size_t i = 0; i < links_.size(); ++i) {
    send(i, heartbeat);
    if (ledger_due) send(i, coordinator.ledger());
  }
}

void RouterLinks::say_goodbye(const std::string& reason) {
  if (!hello_) return;
  for (size_t i = 0; i < links_.size(); ++i) send(i, wire::Goodbye{.reason = reason});
}

void RouterLinks::publish(RouterId router, wire::TokenBatch& batch) {
  wire::FromReplica message(std::move(batch));
  send(static_cast<size_t>(router.value()), message);
  batch = std::get<wire::TokenBatch>(std::move(message));  // its memory, for the next one
}

void RouterLinks::send(size_t index, const wire::FromReplica& message) {
  const Status sent = links_[index].endpoint->send(message);
  // A router that is away for long fills its queue; when it comes back it asks for a Hello and
  // resubmits what it lost.
  if (!sent.ok()) log::debug("router {}: {}", index, sent.error().message);
}

std::vector<int> RouterLinks::event_fds() const {
  std::vector<int> fds;
  for (const Link& link : links_) fds.push_back(link.endpoint->event_fd());
  return fds;
}

}  // namespace trireme::coordinator
