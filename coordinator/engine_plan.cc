// From a snapshot to a plan sent: snapshot, decide, preempt, commit.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "coordinator/engine.h"

namespace trireme::coordinator {

namespace {
// Waiting requests looked at for one step. More rarely fit, and each costs a walk of the prefix
// index.
constexpr size_t kMaxCandidates = 64;
}  // namespace

Status Engine::send_plans(int64_t now_ns) {
  while (in_flight_.size() < most_in_flight()) {
    if (in_flight_.size() == static_cast<size_t>(options_.pp)) {
      const Decision behind = schedule(snapshot(in_flight_.back().header.step), config_);
      if (behind.wants_preemption || behind.empty()) break;
      TRY(commit(behind, now_ns));
      continue;
    }
    if (ahead_) {
      const Decision ahead = std::exchange(ahead_, std::nullopt).value();
      const size_t n_before = in_flight_.size();
      TRY(commit(ahead, now_ns));
      if (in_flight_.size() > n_before) continue;  // else all of it ended meanwhile
    }
    const Decision decision = decide();
    if (decision.empty()) break;
    const size_t n_before = in_flight_.size();
    TRY(commit(decision, now_ns));
    CHECK_EQ(in_flight_.size(), n_before + 1);
  }
  return {};
}

void Engine::plan_ahead() {
  if (options_.run_ahead) return;  // it is out already
  if (ahead_ || in_flight_.size() < static_cast<size_t>(options_.pp)) return;
  Decision decision = schedule(snapshot(in_flight_.front().header.step), config_);
  if (decision.wants_preemption || decision.empty()) return;
  ahead_ = std::move(decision);
}

Decision Engine::decide() {
  while (true) {
    Decision decision = schedule(snapshot(StepId()), config_);
    CHECK(!decision.wants_preemption);
    if (decision.preempt.empty()) return decision;
    for (const uint32_t slot : decision.preempt) preempt(slot);
  }
}

Snapshot Engine::snapshot(StepId assume_done) {
  candidates_.clear();
  int64_t tokens_left = config_.max_step_tokens;
  int64_t blocks_left = pool_->n_free();
  int64_t places_left = config_.max_running - n_resident();
  for (const WaitingEntry& entry : tenants_.pick(kMaxCandidates)) {
    const WaitingCandidate candidate = probe(entry.slot);
    candidates_.push_back(candidate);
    tokens_left -= candidate.n_goal - candidate.n_cached;
    blocks_left -= candidate.n_free_blocks_taken;
    if (--places_left <= 0 || tokens_left <= 0 || blocks_left <= 0) break;
  }
  Snapshot s;
  s.running = running_;
  s.waiting = candidates_;
  s.tenants = tenants_.shares();
  s.n_blocks = pool_->n_blocks();
  s.n_free_blocks = pool_->n_free();
  s.n_groups = budget_.n_groups();
  s.n_resident = n_resident();
  s.n_waiting = tenants_.n_waiting();
  s.n_stages = options_.pp;
  s.assume_done = assume_done;
  return s;
}

// What the prefix index holds of the request's tokens. Never all of them: the last one is computed,
// to sample.
PrefixHit Engine::find_cached(const Request& r) const {
  const int32_t most = r.use_prefix_cache ? (r.n_goal() - 1) / config_.block_size : 0;
  return find_prefix(*pool_, budget_, r.hashes, most, blocks_for(r.n_goal(), config_.block_size));
}

WaitingCandidate Engine::probe(uint32_t slot) const {
  const Request& r = request(slot);
  const PrefixHit hit = find_cached(r);
  WaitingCandidate candidate;
  candidate.slot = slot;
  candidate.tenant = r.tenant;
  candidate.priority = r.priority;
  candidate.arrival = r.arrival;
  candidate.n_goal = r.n_goal();
  candidate.whole = r.embeds;
  candidate.n_cached = hit.n_blocks * config_.block_size;
  candidate.n_free_blocks_taken = static_cast<int32_t>(hit.n_taken);
  return candidate;
}

void Engine::preempt(uint32_t slot) {
  Request& r = request(slot);
  CHECK_EQ(r.n_in_flight, 0) << "sequence " << r.sequence << " is preempted in flight";
  r.state.to(RequestState::kPreempted);
  const RunningSequence& running = running_[static_cast<size_t>(r.running_index)];
  r.n_preempted = std::max(r.n_preempted, running.n_computed);
  leave_running(r);
  leave_ranks(r);
  r.state.to(RequestState::kWaiting);
  enqueue(slot);
  metrics_.preemptions.add();
}

// Turns a decision into a plan and sends it. Choices whose request ended since the decision are
// left out; if none is left, nothing is sent.
Status Engine::commit(const Decision& decision, int64_t now_ns) {
  auto& plan = std::get<step::StepPlan>(plan_);
  plan.starts.clear();
  plan.spans.clear();
  plan.n_group_blocks.clear();
  plan.header = {.epoch = options_.epoch, .step = StepId(last_step_ + 1)};
  InFlightStep in_flight = std::exchange(spare_step_, {});
  // Admissions take what the prefix index holds for them before anybody's new block evicts it.
  std::vector<std::pair<uint32_t, int32_t>> admitted;
  for (const AdmitChoice& choice : decision.admits) {
    const auto& r = slots_[choice.slot];
    if (r == nullptr || r->arrival != choice.arrival) continue;
    CHECK(r->state.now() == RequestState::kWaiting);
    admit(choice.slot, plan);
    admitted.emplace_back(choice.slot, choice.n_tokens);
  }
  for (size_t i = 0; i < decision.spans.size(); ++i) {
    const SpanChoice& choice = decision.spans[i];
    if (i + kAhead < decision.spans.size()) fetch_ahead(decision.spans[i + kAhead].slot);
    const auto& r = slots_[choice.slot];
    if (r == nullptr || r->running_index < 0 || r->sequence != choice.sequence) continue;
    add_span(choice.slot, choice.n_tokens, plan, in_flight);
  }
  for (const auto& [slot, n_tokens] : admitted) add_span(slot, n_tokens, plan, in_flight);
  if (plan.spans.empty()) return {};

  if (in_flight_.empty()) {
    metrics_.add_own_cost(LedgerPart::kIdle, ledger_.book(now_ns, LedgerPart::kIdle));
  }
  ++last_step_;
  std::swap(plan.releases, releases_);
  releases_.clear();
  plan.deadline_ns = config_.step_deadline_ns;
  plan.header.shape_hash = step::shape_hash(plan);
  in_flight.header = plan.header;
  in_flight.sent_ns = now_ns;
  const int32_t n_tokens = plan.n_tokens();
  CHECK_LE(n_tokens, config_.max_step_tokens);
  metrics_.step_tokens.observe(n_tokens);
  in_flight_.push_back(std::move(in_flight));
  if (const Status sent = link_.send(plan_); !sent.ok()) return fail(sent.error());
  return {};
}

void Engine::admit(uint32_t slot, step::StepPlan& plan) {
  Request& r = request(slot);
  tenants_.remove_waiting(r.tenant, {r.priority, r.arrival, slot, r.n_tokens()});
  r.state.to(RequestState::kPrefill);
  r.sequence = SequenceId(++last_sequence_);
  r.n_start = r.n_tokens();
  const int32_t n_found = find_cached(r).n_blocks;
  r.blocks = SequenceBlocks(pool_.get(), &budget_);
  r.blocks.share_prefix(r.hashes, n_found);
  r.blocks.reserve(r.n_goal());
  r.n_settle_at = r.blocks.next_settle(config_.prefix_cache);
  const int32_t n_cached = n_found * config_.block_size;
  if (!r.admitted_before) {
    r.admitted_before = true;
    r.admit_ns = clock_.now_ns();
    r.n_cached = std::min(n_cached, r.n_prompt);
    n_cached_tokens_ += r.n_cached;
    metrics_.prompt_tokens_cached.add(r.n_cached);
    if (r.use_prefix_cache) {
      metrics_.prefix_queries.add(r.n_prompt);
      metrics_.prefix_hits.add(r.n_cached);
    }
  }
  RunningSequence running;
  running.slot = slot;
  running.sequence = r.sequence;
  running.tenant = r.tenant;
  running.priority = r.priority;
  running.arrival = r.arrival;
  running.n_computed = running.n_planned = n_cached;
  running.n_goal = r.n_goal();
  running.n_limit = r.n_limit;
  running.last_token = r.tokens.back();
  if (options_.recompute_length > 0 && !r.is_long) running.n_most = options_.recompute_length;
  running.n_blocks = n_found;
  running.n_held = r.blocks.n_held();
  running.bounded = r.blocks.bounded();
  running.samples = r.samples;
  r.running_index = static_cast<int32_t>(running_.size());
  running_.push_back(running);
  plan.starts.push_back({r.sequence, r.tokens, r.n_prompt, r.sampling});
}

void Engine::add_span(uint32_t slot, int32_t n_tokens, step::StepPlan& plan,
                      InFlightStep& in_flight) {
  Request& r = request(slot);
  RunningSequence& running = running_[static_cast<size_t>(r.running_index)];
  // What is behind all known tokens is for the step to say that samples them; running ahead, the
  // ranks hear it from that step.
  const bool unseen = running.n_planned == running.n_goal;
  if (unseen) {
    CHECK(options_.run_ahead && running.samples && r.n_in_flight == 1)
        << "sequence " << r.sequence << " would be planned behind its own sample";
    CHECK_EQ(running.last_step, in_flight_.back().header.step.value());
    ++running.n_goal;
  }
  CHECK_LT(running.last_step, plan.header.step.value()) << "sequence " << r.sequence << ", twice";
  step::SequenceSpan& span = plan.spans.emplace_back();
  span.id = r.sequence;
  span.first_position = running.n_planned;
  // What was found in the prefix index at commit may be more than at the decision.
  span.n_tokens = std::min(n_tokens, running.n_goal - running.n_planned);
  CHECK_GT(span.n_tokens, 0);
  const int32_t end = span.first_position + span.n_tokens;
  if (span.first_position >= r.n_start) {
    CHECK_EQ(end, running.n_goal);
    CHECK_EQ(span.n_tokens, 1);
    span.token = unseen ? step::kSampledToken : running.last_token;
  }
  // A prefill takes the blocks of all its tokens at once, or has them reserved, so that it never
  // stalls half-way.
  if (running.n_blocks * config_.block_size < running.n_goal || running.bounded) {
    r.blocks.grow(end, running.n_goal, span.new_blocks, plan.n_group_blocks);
    running.n_blocks = blocks_for(running.n_goal, config_.block_size);
    running.n_held = r.blocks.n_held();
    running.bounded = r.blocks.bounded();
  }
  span.sample = running.samples && end == running.n_goal;
  span.embed = r.embeds;
  if (span.embed) CHECK_EQ(span.n_tokens, r.n_prompt) << "a text is embedded whole";
  if (r.sampling.n_prompt_logprobs >= 0) {
    const int32_t first = std::max(span.first_position, r.n_prompt_logprobs_planned);
    const int32_t last = std::min(end, r.n_prompt - 1);
    CHECK(r.n_prompt_logprobs_planned == r.n_prompt - 1 ||
          span.first_position <= r.n_prompt_logprobs_planned)
        << "prompt logprobs would have a gap at " << r.n_prompt_logprobs_planned;
    if (first < last) {
      r.n_prompt_logprobs_planned = last;
      span.first_logprob_position = first;
      span.n_logprob_positions = last - first;
    }
  }
  running.n_planned = end;
  running.last_step = plan.header.step.value();
  ++running.n_in_flight;
  ++r.n_in_flight;
  in_flight.spans.push_back({.slot = slot,
                             .tenant = r.tenant,
                             .sequence = r.sequence,
                             .first_position = span.first_position,
                             .n_tokens = span.n_tokens,
                             .n_logprob_positions = span.n_logprob_positions,
                             .sample = span.sample,
                             .embed = span.embed,
                             .sample_logprobs = span.sample && r.sampling.n_logprobs >= 0,
                             .n_work = add_work(r, span.first_position, span.n_tokens, in_flight)});
}

// Cuts a span by who pays for it, in position order: computed before a preemption, computed before
// on another replica, the prompt, the outputs. The KV held goes with the last piece. How many
// pieces there are.
uint8_t Engine::add_work(const Request& r, int32_t first_position, int32_t n_tokens,
                         InFlightStep& in_flight) const {
  const int32_t end = first_position + n_tokens;
  const int64_t kv_units = end * kKvTokenWork;
  int32_t at = first_position;
  uint8_t n_pieces = 0;
  const auto cut = [&](int32_t until, LedgerPart part, int64_t per_token) {
    const int32_t n = std::min(end, until) - at;
    if (n <= 0) return 0;
    at += n;
    ++n_pieces;
    in_flight.work.push_back({part, n * per_token + (at == end ? kv_units : 0)});
    return n;
  };
  in_flight.n_recomputed += cut(r.n_preempted, LedgerPart::kRecompute, kPrefillTokenWork);
  in_flight.n_resumed += cut(r.n_resumed, LedgerPart::kResume, kPrefillTokenWork);
  in_flight.n_prompt += cut(r.n_prompt, LedgerPart::kPrefill, kPrefillTokenWork);
  cut(INT32_MAX, LedgerPart::kDecode, kDecodeTokenWork);
  return n_pieces;
}

}  // namespace trireme::coordinator
