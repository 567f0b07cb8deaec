// Requests come and go: submit, cancel, routers, finish.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "coordinator/engine.h"

namespace trireme::coordinator {

RouterState& Engine::router_state(RouterId router) {
  const auto [at, added] = routers_.try_emplace(router);
  if (added) at->second.id = router;
  return at->second;
}

Status Engine::admissible(const wire::Submit& submit) const {
  if (fatal_) return unavailable("the replica is going down");
  if (draining_) return unavailable("the replica is draining and takes no new requests");
  if (!ready()) return unavailable("the replica is starting");
  TRY(validate(submit, limits_));
  if (tenants_.n_waiting() >= config_.max_waiting) {
    return resource_exhausted(
        fmt::format("{} requests wait already, which is the limit", tenants_.n_waiting()));
  }
  return {};
}

void Engine::refuse(RouterState& router, const wire::Submit& submit, const Error& error) {
  wire::TokenUpdate update;
  update.request = submit.request;
  update.first_index = std::max(0, static_cast<int32_t>(submit.tokens.size()) - submit.n_prompt);
  update.finish = wire::FinishReason::kError;
  update.error = error;
  router.news.updates.push_back(std::move(update));
  metrics_.outcome(to_string(error.code)).add();
}

void Engine::submit(RouterId router_id, wire::Submit submit) {
  RouterState& router = router_state(router_id);
  const int64_t now_ns = clock_.now_ns();
  if (router.slots.contains(submit.request)) {
    // An answer would be taken for the live request's, which goes on.
    log::warn("router {} submitted request {} twice; the second is ignored", router_id.value(),
              submit.request);
    return;
  }
  if (const Status status = admissible(submit); !status.ok()) {
    refuse(router, submit, status.error());
    return;
  }
  int64_t deadline_ns = 0;
  if (submit.deadline_unix_ns != 0) {
    const int64_t left_ns = submit.deadline_unix_ns - clock_.unix_ns();
    if (left_ns <= 0) {
      refuse(router, submit, deadline_exceeded("the request's deadline had passed on arrival"));
      return;
    }
    deadline_ns = now_ns + left_ns;
  }
  const uint32_t slot = take_slot(make_request(router, std::move(submit), now_ns));
  Request& r = request(slot);
  router.slots.emplace(r.id, slot);
  tenants_.begin(r.tenant);
  r.deadline_ns = deadline_ns;
  if (deadline_ns != 0) deadlines_.emplace(deadline_ns, slot);
  enqueue(slot);
  // Resumed when all was said already: there is nothing to compute, only a finish to tell.
  const bool stopped = r.n_outputs() > r.sampling.min_tokens &&
                       std::find(r.stop_token_ids.begin(), r.stop_token_ids.end(),
                                 r.tokens.back()) != r.stop_token_ids.end();
  if (stopped) {
    finish(slot, {.reason = wire::FinishReason::kStop, .stop_token = r.tokens.back()}, now_ns);
  } else if (!r.samples && !r.embeds && (r.sampling.n_prompt_logprobs < 0 || r.n_goal() == 0)) {
    finish(slot, {.reason = wire::FinishReason::kLength}, now_ns);
  }
  ahead_.reset();
}

std::unique_ptr<Request> Engine::make_request(RouterState& router, wire::Submit submit,
                                              int64_t now_ns) {
  auto r = std::make_unique<Request>();
  r->router = router.id;
  r->router_state = &router;
  r->id = submit.request;
  r->arrival = ++last_arrival_;
  r->tenant = tenants_.find_or_add(submit.tenant);
  metrics_.ensure_tenant(r->tenant, tenants_.name(r->tenant));
  r->priority = submit.priority;
  r->n_prompt = submit.n_prompt;
  r->n_limit = static_cast<int32_t>(
      std::min<int64_t>(int64_t{submit.n_prompt} + submit.max_tokens, limits_.context()));
  r->tokens = std::move(submit.tokens);
  r->n_resumed = submit.resumed ? r->n_tokens() : 0;
  r->embeds = submit.embed;
  r->samples = !r->embeds && r->n_tokens() < r->n_limit;
  r->stop_token_ids.assign(submit.stop_token_ids.begin(), submit.stop_token_ids.end());
  r->sampling = std::move(submit.sampling);
  r->continuous_usage = submit.continuous_usage;
  // Prompt logprobs need the logits of every prompt position: a cached one would have none.
  r->use_prefix_cache = config_.prefix_cache && r->sampling.n_prompt_logprobs < 0;
  if (config_.prefix_cache) {
    r->root = hasher_.root(submit.cache_salt);
    const int32_t key_class = options_.rope_growth.key_class(r->n_prompt);
    if (key_class != 0) r->root = own_root(r->root, key_class);
  }
  r->submit_ns = now_ns;
  return r;
}

uint32_t Engine::take_slot(std::unique_ptr<Request> request) {
  ++n_requests_;
  if (free_slots_.empty()) {
    slots_.push_back(std::move(request));
    return static_cast<uint32_t>(slots_.size() - 1);
  }
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot] = std::move(request);
  return slot;
}

void Engine::enqueue(uint32_t slot) {
  Request& r = request(slot);
  CHECK(r.state.now() == RequestState::kWaiting);
  if (options_.recompute_length > 0 && r.n_tokens() > options_.recompute_length) make_long(r);
  if (r.use_prefix_cache) extend_hashes(r, r.n_tokens());
  tenants_.push_waiting(r.tenant, {r.priority, r.arrival, slot, r.n_tokens()});
}

// From here on the ranks compute other keys for the same tokens: the blocks get names of their own.
void Engine::make_long(Request& r) {
  if (r.is_long) return;
  r.is_long = true;
  r.hashes.clear();
  if (config_.prefix_cache) r.root = own_root(r.root, 1);
}

// The root of blocks that hold other keys for the same tokens: behind a block that cannot be.
BlockHash Engine::own_root(const BlockHash& root, int32_t key_class) const {
  const std::vector<int32_t> no_tokens(static_cast<size_t>(config_.block_size), -key_class);
  return hasher_.next(root, no_tokens);
}

// Names the full blocks among the first `n_tokens` tokens.
void Engine::extend_hashes(Request& r, int32_t n_tokens) {
  const auto block_size = static_cast<size_t>(config_.block_size);
  const size_t n_full = static_cast<size_t>(n_tokens) / block_size;
  while (r.hashes.size() < n_full) {
    const size_t i = r.hashes.size();
    const std::span<const int32_t> tokens(r.tokens.data() + i * block_size, block_size);
    r.hashes.push_back(hasher_.next(i == 0 ? r.root : r.hashes.back(), tokens));
  }
}

void Engine::cancel(RouterId router_id, uint64_t id) {
  RouterState& router = router_state(router_id);
  const auto found = router.slots.find(id);
  if (found == router.slots.end()) return;
  end(found->second, {.reason = wire::FinishReason::kCancelled}, clock_.now_ns());
}

void Engine::router_epoch(RouterId router_id, uint64_t epoch) {
  RouterState& router = router_state(router_id);
  if (router.epoch != epoch && router.epoch != 0) cancel_all(router, clock_.now_ns());
  router.epoch = epoch;
}

void Engine::router_lost(RouterId router_id) {
  cancel_all(router_state(router_id), clock_.now_ns());
}

void Engine::cancel_all(RouterState& router, int64_t now_ns) {
  std::vector<uint32_t> slots;
  for (const auto& [id, slot] : router.slots) slots.push_back(slot);
  // In order of arrival, so that what follows does not depend on the hash table.
  std::sort(slots.begin(), slots.end(),
            [this](uint32_t a, uint32_t b) { return request(a).arrival < request(b).arrival; });
  for (const uint32_t slot : slots) {
    end(slot, {.reason = wire::FinishReason::kCancelled, .silent = true}, now_ns);
  }
  // Cancelled before, but its finish not told yet: nobody listens any more.
  for (const auto& r : slots_) {
    if (r != nullptr && r->router_state == &router && r->finish) r->finish->silent = true;
  }
  router.news.updates.clear();
  if (!slots.empty()) {
    log::info("router {} is gone: {} requests cancelled", router.id.value(), slots.size());
  }
}

void Engine::end(uint32_t slot, Finish how, int64_t now_ns) {
  Request& r = request(slot);
  if (r.n_in_flight == 0) {
    finish(slot, std::move(how), now_ns);
    return;
  }
  r.state.to(RequestState::kEnding);
  leave_running(r);
  ++n_ending_;
  r.finish = std::move(how);
  r.router_state->slots.erase(r.id);
  deadlines_.erase({r.deadline_ns, slot});
}

void Engine::finish(uint32_t slot, Finish how, int64_t now_ns, wire::TokenUpdate update) {
  Request& r = request(slot);
  // Running ahead, a row behind a stop token may be out: nobody wants it (Engine::wanted).
  CHECK_LE(r.n_in_flight, options_.run_ahead && how.reason == wire::FinishReason::kStop ? 1 : 0)
      << "a request ends while a step computes it";
  if (r.state.now() == RequestState::kWaiting) {
    tenants_.remove_waiting(r.tenant, {r.priority, r.arrival, slot, r.n_tokens()});
  }
  if (r.state.now() == RequestState::kEnding) --n_ending_;
  r.state.to(RequestState::kFinished);
  if (r.running_index >= 0) leave_running(r);
  leave_ranks(r);
  tenants_.end(r.tenant);
  deadlines_.erase({r.deadline_ns, slot});
  count_outcome(r, how, now_ns);
  if (const auto found = r.router_state->slots.find(r.id);
      found != r.router_state->slots.end() && found->second == slot) {
    r.router_state->slots.erase(found);
  }
  if (!how.silent) {
    update.request = r.id;
    if (update.tokens.empty()) update.first_index = r.n_outputs();
    update.finish = how.reason;
    update.stop_token = how.stop_token;
    update.error = std::move(how.error);
    fill_usage(r, now_ns, update);
    r.router_state->news.updates.push_back(std::move(update));
  }
  slots_[slot].reset();
  free_slots_.push_back(slot);
  --n_requests_;
}

void Engine::leave_running(Request& r) {
  const auto index = static_cast<size_t>(r.running_index);
  CHECK_LT(index, running_.size());
  running_[index] = running_.back();
  request(running_[index].slot).running_index = r.running_index;
  running_.pop_back();
  r.running_index = -1;
}

// Gives the blocks back and has the ranks forget the sequence.
void Engine::leave_ranks(Request& r) {
  r.blocks.clear();
  if (r.sequence.value() == 0) return;
  releases_.push_back(r.sequence);
  r.sequence = SequenceId();
}

void Engine::fill_usage(const Request& r, int64_t now_ns, wire::TokenUpdate& update) const {
  update.cached_tokens = r.n_cached;
  update.cost_nano_usd = r.cost_nano_usd;
  const int64_t admit_ns = r.admit_ns != 0 ? r.admit_ns : now_ns;
  const int64_t first_ns = r.first_token_ns != 0 ? r.first_token_ns : now_ns;
  update.queue_ns = admit_ns - r.submit_ns;
  update.prefill_ns = first_ns - admit_ns;
  update.decode_ns = now_ns - first_ns;
}

void Engine::count_outcome(const Request& r, const Finish& how, int64_t now_ns) {
  switch (how.reason) {
    case wire::FinishReason::kStop:
      metrics_.outcome("stop").add();
      break;
    case wire::FinishReason::kLength:
      metrics_.outcome("length").add();
      break;
    case wire::FinishReason::kCancelled:
      metrics_.outcome("cancelled").add();
      break;
    case wire::FinishReason::kError:
    case wire::FinishReason::kNone:
      CHECK(how.error.has_value()) << "a request ends without a reason";
      metrics_.outcome(to_string(how.error->code)).add();
      break;
  }
  wire::TokenUpdate usage;
  fill_usage(r, now_ns, usage);
  metrics_.observe_finish(now_ns - r.submit_ns, usage, r.n_prompt, r.n_outputs());
}

}  // namespace trireme::coordinator
