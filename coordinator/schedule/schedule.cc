#include "coordinator/schedule/schedule.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "coordinator/ledger/ledger.h"

namespace trireme::coordinator {

namespace {

// A running sequence that this decision may use, with its progress as the decision sees it.
struct Available {
  uint32_t index = 0;      // in snapshot.running
  int32_t remaining = 0;   // positions until its goal
  int32_t new_blocks = 0;  // that one more token needs
};

bool worse(const RunningSequence& a, const RunningSequence& b) {
  return std::tie(a.priority, a.arrival) > std::tie(b.priority, b.arrival);
}

class Planner {
 public:
  Planner(const Snapshot& snapshot, const SchedulerConfig& config)
      : s_(snapshot), config_(config), free_blocks_(snapshot.n_free_blocks) {}

  Decision run() {
    collect();
    if (!decision_.preempt.empty() || decision_.wants_preemption) return std::move(decision_);
    if (!plan_decodes()) return std::move(decision_);
    plan_prefills();
    return std::move(decision_);
  }

 private:
  bool ahead() const { return s_.assume_done.value() != 0; }
  static bool in_flight(const RunningSequence& r) { return r.n_in_flight > 0; }
  int32_t share(int64_t n) const {
    return static_cast<int32_t>(std::max<int64_t>(1, (n + s_.n_stages - 1) / s_.n_stages));
  }

  void collect();
  bool plan_decodes();
  bool resolve_shortage(int64_t n_needed);
  void plan_prefills();
  size_t best_partial() const;
  bool before(const WaitingCandidate& w, const RunningSequence& r) const;
  bool admit(const WaitingCandidate& candidate);
  struct Shortage {
    int64_t blocks = 0;
    int32_t slots = 0;
    bool any() const { return slots > 0 || blocks > 0; }
  };
  Shortage shortage_of(const WaitingCandidate& candidate) const;
  void preempt_for(const WaitingCandidate& candidate, int64_t blocks_short, int32_t slots_short);
  std::vector<uint32_t> worst_first() const;
  void take(const Available& a, int32_t n_tokens) {
    const RunningSequence& r = s_.running[a.index];
    decision_.spans.push_back({r.slot, r.sequence, n_tokens});
    decision_.n_tokens += n_tokens;
  }
  int64_t served(int32_t tenant) const { return tenants_[static_cast<size_t>(tenant)].served; }
  int32_t budget_left() const { return config_.max_step_tokens - decision_.n_tokens; }

  const Snapshot& s_;
  const SchedulerConfig& config_;
  int64_t free_blocks_;
  std::vector<Available> decodes_;
  std::vector<Available> partials_;  // prefills under way
  std::vector<TenantShare> tenants_;
  // Prompts under way of a worse priority stand still: one of them is to be preempted, and would
  // else be in flight until it is done.
  int32_t hold_ = INT32_MAX;
  Decision decision_;
};

void Planner::collect() {
  decodes_.reserve(s_.running.size());
  for (uint32_t i = 0; i < s_.running.size(); ++i) {
    const RunningSequence& r = s_.running[i];
    int32_t n_goal = r.n_goal;
    if (r.n_planned == n_goal) {  // all that is known is planned: its last step samples, or ends it
      if (!ahead() || r.last_step != s_.assume_done.value()) continue;
      if (!r.samples || n_goal + 1 >= r.n_limit) continue;  // ends with that step
      ++n_goal;
    }
    if (n_goal > r.n_most) {
      if (ahead()) {
        decision_.wants_preemption = true;
      } else {
        decision_.preempt.push_back(r.slot);
      }
      continue;
    }
    const int32_t remaining = n_goal - r.n_planned;
    if (remaining == 1) {
      const int32_t need = blocks_for(r.n_planned + 1, config_.block_size) - r.n_blocks;
      decodes_.push_back({i, remaining, need > 0 ? need * s_.n_groups : 0});
    } else {
      CHECK_GT(remaining, 1) << "sequence " << r.sequence << " has nothing to compute";
      partials_.push_back({i, remaining, 0});
    }
  }
}

bool Planner::plan_decodes() {
  int32_t budget = config_.max_step_tokens;
  if (!partials_.empty() && decodes_.size() >= static_cast<size_t>(budget)) {
    budget -= std::max(1, budget / 4);  // else the prompts under way would stand still
  }
  // Prompts under way are in every step: they take no part of the decodes' turns.
  const size_t n_decoding = s_.running.size() - partials_.size();
  const auto cap = static_cast<size_t>(std::min(budget, share(static_cast<int64_t>(n_decoding))));
  if (decodes_.size() > cap) {
    // More than fit: those that waited longest go, so that all advance in turn.
    const auto key = [this](const Available& a) {
      const RunningSequence& r = s_.running[a.index];
      return std::make_tuple(r.last_step, r.priority, r.arrival);
    };
    std::nth_element(decodes_.begin(), decodes_.begin() + static_cast<ptrdiff_t>(cap),
                     decodes_.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
    decodes_.resize(cap);
  }
  int64_t n_needed = 0;
  for (const Available& a : decodes_) n_needed += a.new_blocks;
  decision_.spans.reserve(decodes_.size() + 8);
  if (n_needed > free_blocks_) return resolve_shortage(n_needed);
  for (const Available& a : decodes_) take(a, 1);
  free_blocks_ -= n_needed;
  return true;
}

// Names victims and returns false, or lets the best that fit go on and returns true.
bool Planner::resolve_shortage(int64_t n_needed) {
  if (ahead()) {
    decision_.wants_preemption = true;
    return false;
  }
  std::vector<int32_t> need_of(s_.running.size(), 0);
  for (const Available& a : decodes_) need_of[a.index] = a.new_blocks;
  int64_t blocks_short = n_needed - free_blocks_;
  size_t n_left = s_.running.size();
  for (const uint32_t index : worst_first()) {
    if (blocks_short <= 0 || n_left == 1) break;
    if (in_flight(s_.running[index])) {
      hold_ = INT32_MIN;
      break;
    }
    decision_.preempt.push_back(s_.running[index].slot);
    blocks_short -= s_.running[index].n_held + need_of[index];
    --n_left;
  }
  if (!decision_.preempt.empty()) return false;
  CHECK(s_.n_resident > 1) << "one sequence alone needs more blocks than the pool has: "
                           << s_.n_blocks;
  std::sort(decodes_.begin(), decodes_.end(), [this](const Available& a, const Available& b) {
    return worse(s_.running[b.index], s_.running[a.index]);
  });
  for (const Available& a : decodes_) {
    if (a.new_blocks > free_blocks_) continue;
    free_blocks_ -= a.new_blocks;
    take(a, 1);
  }
  return true;
}

std::vector<uint32_t> Planner::worst_first() const {
  std::vector<uint32_t> order(s_.running.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [this](uint32_t a, uint32_t b) { return worse(s_.running[a], s_.running[b]); });
  return order;
}

size_t Planner::best_partial() const {
  size_t best = partials_.size();
  for (size_t i = 0; i < partials_.size(); ++i) {
    if (s_.running[partials_[i].index].priority > hold_) continue;
    if (best == partials_.size()) {
      best = i;
      continue;
    }
    const RunningSequence& a = s_.running[partials_[i].index];
    const RunningSequence& b = s_.running[partials_[best].index];
    if (std::make_tuple(a.priority, served(a.tenant), a.arrival) <
        std::make_tuple(b.priority, served(b.tenant), b.arrival)) {
      best = i;
    }
  }
  return best;
}

bool Planner::before(const WaitingCandidate& w, const RunningSequence& r) const {
  return std::make_tuple(w.priority, served(w.tenant), w.arrival) <
         std::make_tuple(r.priority, served(r.tenant), r.arrival);
}

void Planner::plan_prefills() {
  if (partials_.empty() && s_.waiting.empty()) return;
  tenants_.assign(s_.tenants.begin(), s_.tenants.end());
  // Room for one at least: a better priority may preempt its way in.
  const int64_t room = std::max(1, config_.max_running - s_.n_resident);
  const int64_t n_live =
      static_cast<int64_t>(s_.running.size()) + std::min<int64_t>(room, s_.n_waiting);
  const size_t span_cap = s_.n_stages == 1 ? SIZE_MAX : static_cast<size_t>(share(n_live));
  size_t next_waiting = 0;
  const bool decodes_fill_it = budget_left() <= 0;
  while (budget_left() > 0 && decision_.spans.size() + decision_.admits.size() < span_cap) {
    const size_t partial = best_partial();
    const bool have_partial = partial < partials_.size();
    const bool have_waiting = next_waiting < s_.waiting.size();
    if (!have_partial && !have_waiting) break;
    int32_t tenant = 0;
    const int32_t n_before = decision_.n_tokens;
    if (have_waiting &&
        (!have_partial || before(s_.waiting[next_waiting], s_.running[partials_[partial].index]))) {
      if (!admit(s_.waiting[next_waiting])) {
        if (!decision_.preempt.empty() || decision_.wants_preemption) return;
        next_waiting = s_.waiting.size();  // the first that does not fit holds back the rest
        continue;
      }
      tenant = s_.waiting[next_waiting++].tenant;
    } else {
      tenant = s_.running[partials_[partial].index].tenant;
      take(partials_[partial], std::min(budget_left(), partials_[partial].remaining));
      partials_.erase(partials_.begin() + static_cast<ptrdiff_t>(partial));
    }
    TenantShare& share_of = tenants_[static_cast<size_t>(tenant)];
    share_of.served += (decision_.n_tokens - n_before) * kPrefillTokenWork / share_of.weight;
  }
  // A step that is full of decodes looks at nobody who waits, and each of them may be free in such
  // decisions alone: one that is in the way of a better priority is preempted all the same.
  if (next_waiting < s_.waiting.size() && (budget_left() > 0 || decodes_fill_it)) {
    const WaitingCandidate& next = s_.waiting[next_waiting];
    if (const Shortage shortage = shortage_of(next); shortage.any()) {
      preempt_for(next, shortage.blocks, shortage.slots);
    }
  }
}

Planner::Shortage Planner::shortage_of(const WaitingCandidate& candidate) const {
  const auto n_admitted = static_cast<int32_t>(decision_.admits.size());
  const bool anything_runs = s_.n_resident + n_admitted > 0;
  return {.blocks = candidate.n_free_blocks_taken +
                    admission_reserve(s_.n_blocks, s_.n_groups, anything_runs) - free_blocks_,
          .slots = s_.n_resident + n_admitted + 1 - config_.max_running};
}

bool Planner::admit(const WaitingCandidate& candidate) {
  if (const Shortage shortage = shortage_of(candidate); shortage.any()) {
    preempt_for(candidate, shortage.blocks, shortage.slots);
    return false;
  }
  const int32_t n_left = candidate.n_goal - candidate.n_cached;
  // What must be whole waits for a step with room for it; an empty step has it.
  if (candidate.whole && n_left > budget_left()) return false;
  const int32_t n_tokens = std::min(budget_left(), n_left);
  CHECK_GT(n_tokens, 0);
  decision_.admits.push_back({candidate.slot, candidate.arrival, n_tokens});
  decision_.n_tokens += n_tokens;
  free_blocks_ -= candidate.n_free_blocks_taken;
  return true;
}

// Names sequences of a strictly worse priority as victims, if together they make room.
void Planner::preempt_for(const WaitingCandidate& candidate, int64_t blocks_short,
                          int32_t slots_short) {
  int64_t blocks_to_gain = 0;
  int32_t slots_to_gain = 0;
  for (const RunningSequence& r : s_.running) {
    if (r.priority <= candidate.priority) continue;
    blocks_to_gain += r.n_held;
    ++slots_to_gain;
  }
  if (slots_to_gain == 0 || blocks_to_gain < blocks_short || slots_to_gain < slots_short) return;
  if (ahead()) {
    decision_.wants_preemption = true;
    return;
  }
  std::vector<uint32_t> victims;
  for (const uint32_t index : worst_first()) {
    const RunningSequence& r = s_.running[index];
    if ((blocks_short <= 0 && slots_short <= 0) || r.priority <= candidate.priority) break;
    if (in_flight(r)) {
      hold_ = std::min(hold_, candidate.priority);
      break;
    }
    victims.push_back(r.slot);
    blocks_short -= r.n_held;
    --slots_short;
  }
  if (victims.empty()) return;
  decision_ = Decision{};
  decision_.preempt = std::move(victims);
}

}  // namespace

int64_t admission_reserve(int64_t n_blocks, int32_t n_groups, bool anything_runs) {
  return anything_runs ? std::max<int64_t>(n_groups, n_blocks / 100) : 0;
}

Decision schedule(const Snapshot& snapshot, const SchedulerConfig& config) {
  return Planner(snapshot, config).run();
}

}  // namespace trireme::coordinator
