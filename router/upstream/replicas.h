// ReplicaSet: the replicas that announced themselves to this router, and what is known of each.
//
// Pure bookkeeping, keyed by connection: who they are, when they were last heard, how loaded they
// are, what they earned. Upstream decides. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "parallel/wire/endpoints.h"
#include "router/balance/prefix_index.h"
#include "router/upstream/retry.h"

namespace trireme::router {

struct Replica {
  Replica(wire::PeerId peer_id, wire::Hello announced, size_t prefix_capacity)
      : peer(std::move(peer_id)), hello(std::move(announced)), prefix(prefix_capacity) {}

  // Requests on it: ours, or what it says itself where other routers use it too.
  int64_t load_requests() const {
    return std::max<int64_t>(in_flight, int64_t{load.running} + load.waiting);
  }
  // Twice what runs at once: the replica has the next ones at hand, the rest can still go
  // elsewhere.
  bool has_room() const { return in_flight < 2 * std::max(1, hello.max_running); }

  wire::PeerId peer;
  wire::Hello hello;
  wire::Load load;
  int64_t last_heard_ns = 0;
  int64_t in_flight = 0;  // jobs of ours
  Breaker breaker;
  PrefixIndex prefix;
};

// Sums of LedgerReports over replicas and over their earlier lives.
struct LedgerTotals {
  wire::LedgerReport sum;  // epoch has no meaning
  int n_reports = 0;
};

class ReplicaSet {
 public:
  static constexpr size_t kMaxReplicas = 4096;

  // Null: not known.
  Replica* find(const wire::PeerId& peer);
  // The one of this name, whatever its connection.
  Replica* find_name(const std::string& name);
  Replica& add(const wire::PeerId& peer, const wire::Hello& hello, int64_t now_ns);
  void remove(const wire::PeerId& peer);
  // In the order of their names, so that snapshots are stable.
  std::vector<Replica*> all() const;
  size_t size() const { return by_peer_.size(); }

  void book(const Replica& replica, const wire::LedgerReport& report);
  LedgerTotals ledger() const;
  // The last report of the replica's current life; null before the first.
  const wire::LedgerReport* ledger_of(const std::string& name) const;

 private:
  struct Ledger {
    wire::LedgerReport past;  // of earlier epochs
    wire::LedgerReport now;
  };
  std::map<wire::PeerId, std::unique_ptr<Replica>> by_peer_;
  std::map<std::string, Ledger> ledgers_;  // by replica name; bounded by kMaxReplicas
};

}  // namespace trireme::router
