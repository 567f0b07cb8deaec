#include "coordinator/schedule/waiting.h"

#include <algorithm>
#include <tuple>

#include "coordinator/ledger/ledger.h"

namespace trireme::coordinator {

namespace {

struct Head {
  int64_t served = 0;
  size_t queue = 0;
  size_t next = 0;
};

}  // namespace

std::vector<WaitingEntry> pick_waiting(std::span<const TenantQueue> queues, size_t limit) {
  const auto key = [&](const Head& head) {
    const WaitingEntry& entry = queues[head.queue].entries[head.next];
    return std::make_tuple(entry.priority, head.served, entry.arrival);
  };
  const auto later = [&](const Head& a, const Head& b) { return key(a) > key(b); };
  std::vector<Head> heap;
  for (size_t i = 0; i < queues.size(); ++i) {
    if (!queues[i].entries.empty()) heap.push_back({queues[i].share.served, i, 0});
  }
  std::make_heap(heap.begin(), heap.end(), later);
  std::vector<WaitingEntry> picked;
  while (!heap.empty() && picked.size() < limit) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Head& head = heap.back();
    const TenantQueue& queue = queues[head.queue];
    const WaitingEntry& entry = queue.entries[head.next];
    picked.push_back(entry);
    head.served += entry.n_tokens * kPrefillTokenWork / queue.share.weight;
    if (++head.next == queue.entries.size()) {
      heap.pop_back();
    } else {
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  return picked;
}

}  // namespace trireme::coordinator
