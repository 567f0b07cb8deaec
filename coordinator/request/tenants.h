// Tenants: their waiting requests and what each was served, for fairness and for metric labels.
//
// The table is bounded. Tenants beyond the bound share the last entry, "other", so that nobody
// grows our memory or our metrics by inventing names. A tenant that comes back after a pause starts
// at the least served of those that are active: it has no credit for the time when it asked for
// nothing. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/schedule/schedule.h"
#include "coordinator/schedule/waiting.h"

namespace trireme::coordinator {

struct TenantOptions {
  std::string name;
  int32_t weight = 1;  // of two busy tenants, one with weight 2 is served twice as much
};

class TenantTable {
 public:
  TenantTable(const std::vector<TenantOptions>& known, int32_t max_tenants);

  // The tenant of this name: known, new, or "other".
  int32_t find_or_add(const std::string& name);
  int32_t size() const { return static_cast<int32_t>(names_.size()); }
  const std::string& name(int32_t tenant) const { return names_[static_cast<size_t>(tenant)]; }
  const std::vector<TenantShare>& shares() const { return shares_; }

  // A request of it begins or ends.
  void begin(int32_t tenant);
  void end(int32_t tenant);
  void serve(int32_t tenant, int64_t work_units);

  void push_waiting(int32_t tenant, const WaitingEntry& entry);
  void remove_waiting(int32_t tenant, const WaitingEntry& entry);
  int32_t n_waiting() const { return n_waiting_; }
  int64_t waiting_tokens() const { return waiting_tokens_; }
  // The first `limit` in the order of schedule/waiting.h.
  std::vector<WaitingEntry> pick(size_t limit) const;

 private:
  int32_t add(const std::string& name, int32_t weight);

  const int32_t max_tenants_;
  std::unordered_map<std::string, int32_t> index_;
  std::vector<std::string> names_;
  std::vector<TenantShare> shares_;
  std::vector<int32_t> n_live_;
  std::vector<std::vector<WaitingEntry>> waiting_;  // sorted
  int32_t n_waiting_ = 0;
  int64_t waiting_tokens_ = 0;
};

}  // namespace trireme::coordinator
