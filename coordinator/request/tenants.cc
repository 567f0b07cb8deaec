#include "coordinator/request/tenants.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::coordinator {

namespace {
constexpr char kOther[] = "other";
}

TenantTable::TenantTable(const std::vector<TenantOptions>& known, int32_t max_tenants)
    : max_tenants_(max_tenants) {
  CHECK_GE(max_tenants, 1);
  add(kOther, 1);
  for (const TenantOptions& tenant : known) {
    if (!index_.contains(tenant.name)) add(tenant.name, tenant.weight);
  }
}

int32_t TenantTable::add(const std::string& name, int32_t weight) {
  CHECK_GT(weight, 0) << "tenant " << name;
  const int32_t tenant = size();
  index_.emplace(name, tenant);
  names_.push_back(name);
  shares_.push_back({0, weight});
  n_live_.push_back(0);
  waiting_.emplace_back();
  return tenant;
}

int32_t TenantTable::find_or_add(const std::string& name) {
  const auto found = index_.find(name);
  if (found != index_.end()) return found->second;
  if (size() >= max_tenants_) return 0;
  return add(name, 1);
}

void TenantTable::begin(int32_t tenant) {
  const auto t = static_cast<size_t>(tenant);
  if (n_live_[t]++ > 0) return;
  int64_t least = INT64_MAX;
  for (size_t i = 0; i < n_live_.size(); ++i) {
    if (i != t && n_live_[i] > 0) least = std::min(least, shares_[i].served);
  }
  if (least != INT64_MAX) shares_[t].served = std::max(shares_[t].served, least);
}

void TenantTable::end(int32_t tenant) {
  CHECK_GT(n_live_[static_cast<size_t>(tenant)], 0);
  --n_live_[static_cast<size_t>(tenant)];
}

void TenantTable::serve(int32_t tenant, int64_t work_units) {
  TenantShare& share = shares_[static_cast<size_t>(tenant)];
  share.served += share.weight == 1 ? work_units : work_units / share.weight;
}

void TenantTable::push_waiting(int32_t tenant, const WaitingEntry& entry) {
  auto& queue = waiting_[static_cast<size_t>(tenant)];
  queue.insert(std::upper_bound(queue.begin(), queue.end(), entry), entry);
  ++n_waiting_;
  waiting_tokens_ += entry.n_tokens;
}

void TenantTable::remove_waiting(int32_t tenant, const WaitingEntry& entry) {
  auto& queue = waiting_[static_cast<size_t>(tenant)];
  const auto found = std::lower_bound(queue.begin(), queue.end(), entry);
  CHECK(found != queue.end() && found->slot == entry.slot) << "the request does not wait";
  --n_waiting_;
  waiting_tokens_ -= found->n_tokens;
  queue.erase(found);
}

std::vector<WaitingEntry> TenantTable::pick(size_t limit) const {
  if (n_waiting_ == 0) return {};
  std::vector<TenantQueue> queues;
  queues.reserve(waiting_.size());
  for (size_t i = 0; i < waiting_.size(); ++i) {
    if (!waiting_[i].empty()) queues.push_back({shares_[i], waiting_[i]});
  }
  return pick_waiting(queues, limit);
}

}  // namespace trireme::coordinator
