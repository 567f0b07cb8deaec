#include "router/upstream/replicas.h"

#include <algorithm>

namespace trireme::router {
namespace {

constexpr int64_t kMaxPrefixBlocks = 1 << 16;  // some 5 MB per replica

void accumulate(wire::LedgerReport& to, const wire::LedgerReport& from) {
  to.device_ns += from.device_ns;
  to.total_nano_usd += from.total_nano_usd;
  to.prefill_nano_usd += from.prefill_nano_usd;
  to.decode_nano_usd += from.decode_nano_usd;
  to.idle_nano_usd += from.idle_nano_usd;
  to.startup_nano_usd += from.startup_nano_usd;
  to.recompute_nano_usd += from.recompute_nano_usd;
  to.resume_nano_usd += from.resume_nano_usd;
  to.prompt_tokens += from.prompt_tokens;
  to.cached_tokens += from.cached_tokens;
  to.generated_tokens += from.generated_tokens;
}

}  // namespace

Replica* ReplicaSet::find(const wire::PeerId& peer) {
  const auto it = by_peer_.find(peer);
  return it == by_peer_.end() ? nullptr : it->second.get();
}

Replica* ReplicaSet::find_name(const std::string& name) {
  for (auto& [peer, replica] : by_peer_) {
    if (replica->hello.replica == name) return replica.get();
  }
  return nullptr;
}

Replica& ReplicaSet::add(const wire::PeerId& peer, const wire::Hello& hello, int64_t now_ns) {
  const int64_t capacity = std::clamp<int64_t>(hello.n_kv_blocks, 16, kMaxPrefixBlocks);
  auto replica = std::make_unique<Replica>(peer, hello, static_cast<size_t>(capacity));
  replica->last_heard_ns = now_ns;
  return *(by_peer_[peer] = std::move(replica));
}

void ReplicaSet::remove(const wire::PeerId& peer) { by_peer_.erase(peer); }

std::vector<Replica*> ReplicaSet::all() const {
  std::vector<Replica*> replicas;
  replicas.reserve(by_peer_.size());
  for (const auto& [peer, replica] : by_peer_) replicas.push_back(replica.get());
  std::sort(replicas.begin(), replicas.end(),
            [](const Replica* a, const Replica* b) { return a->hello.replica < b->hello.replica; });
  return replicas;
}

void ReplicaSet::book(const Replica& replica, const wire::LedgerReport& report) {
  if (!ledgers_.contains(replica.hello.replica) && ledgers_.size() >= kMaxReplicas) return;
  Ledger& ledger = ledgers_[replica.hello.replica];
  if (ledger.now.epoch != report.epoch) accumulate(ledger.past, ledger.now);
  ledger.now = report;
}

const wire::LedgerReport* ReplicaSet::ledger_of(const std::string& name) const {
  const auto it = ledgers_.find(name);
  return it == ledgers_.end() ? nullptr : &it->second.now;
}

LedgerTotals ReplicaSet::ledger() const {
  LedgerTotals totals;
  for (const auto& [name, ledger] : ledgers_) {
    accumulate(totals.sum, ledger.past);
    accumulate(totals.sum, ledger.now);
    ++totals.n_reports;
  }
  return totals;
}

}  // namespace trireme::router
