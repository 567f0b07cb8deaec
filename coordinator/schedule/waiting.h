// The order in which waiting requests are looked at for admission. Pure.
//
// By priority (lower first), then the tenant that was served least for its weight, then arrival.
// Picks are simulated: each one counts its tokens as served to its tenant, so that tenants
// alternate within one look and not only between steps. Cost: O(tenants + limit log tenants).
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "coordinator/schedule/schedule.h"

namespace trireme::coordinator {

struct WaitingEntry {
  int32_t priority = 0;
  uint64_t arrival = 0;
  uint32_t slot = 0;
  int32_t n_tokens = 0;

  // Order within a tenant.
  friend std::strong_ordering operator<=>(const WaitingEntry& a, const WaitingEntry& b) {
    if (const auto by_priority = a.priority <=> b.priority; std::is_neq(by_priority)) {
      return by_priority;
    }
    return a.arrival <=> b.arrival;
  }
  friend bool operator==(const WaitingEntry& a, const WaitingEntry& b) {
    return (a <=> b) == std::strong_ordering::equal;
  }
};

struct TenantQueue {
  TenantShare share;
  std::span<const WaitingEntry> entries;  // sorted
};

std::vector<WaitingEntry> pick_waiting(std::span<const TenantQueue> queues, size_t limit);

}  // namespace trireme::coordinator
