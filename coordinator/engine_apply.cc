// A step's result applied: the only place where a sequence advances.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "coordinator/engine.h"

namespace trireme::coordinator {

Status Engine::apply(step::StepResult result) {
  if (in_flight_.empty()) {
    return fail(internal_error(fmt::format("a result came for step {}, and none is in flight",
                                           result.header.step.value())));
  }
  if (const Status status = check_result(in_flight_.front(), result); !status.ok()) {
    return fail(status.error());
  }
  const int64_t now_ns = clock_.now_ns();
  InFlightStep step = std::move(in_flight_.front());
  in_flight_.pop_front();
  last_result_ns_ = now_ns;
  book_costs(step, now_ns);
  const int64_t n_generated_before = n_generated_tokens_;
  size_t next_output = 0;
  for (const InFlightSpan& span : step.spans) {
    const bool has_output = span.sample || span.n_logprob_positions > 0;
    advance(span, has_output ? &result.outputs[next_output++] : nullptr, now_ns);
  }
  metrics_.generation_tokens.add(static_cast<double>(n_generated_tokens_ - n_generated_before));
  return {};
}

// The ranks are other processes: what they say is checked before any of it is believed.
Status Engine::check_result(const InFlightStep& step, const step::StepResult& result) const {
  const step::StepHeader& want = step.header;
  const step::StepHeader& got = result.header;
  if (got.epoch != want.epoch || got.step != want.step || got.shape_hash != want.shape_hash) {
    return internal_error(fmt::format(
        "a result came for step {} (epoch {}, shape {:x}), and step {} (epoch {}, shape {:x}) is "
        "the oldest in flight",
        got.step.value(), got.epoch, got.shape_hash, want.step.value(), want.epoch,
        want.shape_hash));
  }
  const auto wrong = [&](std::string_view what) {
    return internal_error(
        fmt::format("the result of step {} is wrong: {}", want.step.value(), what));
  };
  size_t n_outputs = 0;
  for (const InFlightSpan& span : step.spans) {
    if (!span.sample && span.n_logprob_positions == 0) continue;
    if (n_outputs == result.outputs.size()) return wrong("outputs are missing");
    const step::SequenceOutput& output = result.outputs[n_outputs++];
    const Request& r = request(span.slot);
    if (output.id != span.sequence) return wrong("outputs are not in the plan's order");
    if (span.sample && (output.token < 0 || output.token >= options_.vocab)) {
      return wrong(fmt::format("token {} is outside the vocabulary", output.token));
    }
    if (span.sample && r.sampling.n_logprobs >= 0 && output.logprobs.size() != 1) {
      return wrong("a sampled token has no logprobs");
    }
    if (output.prompt_logprobs.size() != static_cast<size_t>(span.n_logprob_positions)) {
      return wrong("prompt logprobs are missing");
    }
  }
  if (n_outputs != result.outputs.size()) return wrong("there are too many outputs");
  return {};
}

// Cuts a span by who pays for it, in position order: computed before a preemption, computed before
// on another replica, the prompt, the outputs. The KV held goes with the last piece.
void Engine::add_work(const InFlightSpan& span, const Request& r) {
  const std::array<std::pair<int32_t, LedgerPart>, 4> cuts = {{
      {r.n_preempted, LedgerPart::kRecompute},
      {r.n_resumed, LedgerPart::kResume},
      {r.n_prompt, LedgerPart::kPrefill},
      {INT32_MAX, LedgerPart::kDecode},
  }};
  const int32_t end = span.first_position + span.n_tokens;
  int32_t at = span.first_position;
  for (const auto& [until, part] : cuts) {
    const int32_t n = std::min(end, until) - at;
    if (n <= 0) continue;
    const int64_t per_token = part == LedgerPart::kDecode ? kDecodeTokenWork : kPrefillTokenWork;
    work_.push_back({part, n * per_token});
    work_slots_.push_back(span.slot);
    at += n;
    switch (part) {
      case LedgerPart::kRecompute:
        metrics_.prompt_tokens_recomputed.add(n);
        break;
      case LedgerPart::kResume:
        metrics_.prompt_tokens_resumed.add(n);
        break;
      case LedgerPart::kPrefill:
        n_prompt_tokens_ += n;
        metrics_.prompt_tokens_computed.add(n);
        break;
      default:
        break;
    }
  }
  work_.back().units += end * kKvTokenWork;
}

void Engine::book_costs(const InFlightStep& step, int64_t now_ns) {
  work_.clear();
  work_slots_.clear();
  for (const InFlightSpan& span : step.spans) add_work(span, request(span.slot));
  costs_.resize(work_.size());
  ledger_.book_step(now_ns, work_, costs_);
  for (size_t i = 0; i < work_.size(); ++i) {
    Request& r = request(work_slots_[i]);
    if (work_[i].part == LedgerPart::kPrefill || work_[i].part == LedgerPart::kDecode) {
      r.cost_nano_usd += costs_[i];
    }
    tenants_.serve(r.tenant, work_[i].units);
    metrics_.add_cost(r.tenant, work_[i].part, costs_[i]);
  }
  metrics_.flush_costs();
}

void Engine::advance(const InFlightSpan& span, step::SequenceOutput* output, int64_t now_ns) {
  Request& r = request(span.slot);
  r.in_flight = StepId();
  if (r.state.now() == RequestState::kEnding) {
    finish(span.slot, std::move(*r.finish), now_ns);
    return;
  }
  RunningSequence& running = running_[static_cast<size_t>(r.running_index)];
  CHECK_EQ(running.sequence, span.sequence);
  running.in_flight = StepId();
  running.in_flight_tokens = 0;
  running.in_flight_samples = false;
  CHECK_EQ(running.n_computed, span.first_position);
  running.n_computed += span.n_tokens;
  publish_blocks(r);
  if (output != nullptr) collect_prompt_logprobs(r, *output);
  if (span.sample) {
    take_token(span.slot, *output, now_ns);
  } else if (!r.samples && running.n_computed == running.n_goal) {
    wire::TokenUpdate update;
    update.first_index = r.n_outputs();
    update.prompt_logprobs = std::move(r.prompt_logprobs);
    r.first_token_ns = now_ns;
    finish(span.slot, {.reason = wire::FinishReason::kLength}, now_ns, std::move(update));
  }
}

void Engine::collect_prompt_logprobs(Request& r, step::SequenceOutput& output) {
  for (step::PositionLogprobs& position : output.prompt_logprobs) {
    r.prompt_logprobs.push_back(std::move(position));
    ++r.n_prompt_logprobs_done;
  }
}

// Gives names to the blocks that are full and computed, so that others may find them.
void Engine::publish_blocks(Request& r) {
  if (!config_.prefix_cache) return;
  const int32_t n_computed = running_[static_cast<size_t>(r.running_index)].n_computed;
  const int32_t n_full = n_computed / config_.block_size;
  if (r.n_published >= n_full) return;
  extend_hashes(r, n_computed);
  for (; r.n_published < n_full; ++r.n_published) {
    pool_->publish(r.table[r.n_published], r.hashes[static_cast<size_t>(r.n_published)]);
  }
}

void Engine::take_token(uint32_t slot, step::SequenceOutput& output, int64_t now_ns) {
  Request& r = request(slot);
  wire::TokenUpdate update;
  update.request = r.id;
  update.first_index = r.n_outputs();
  update.tokens.push_back(output.token);
  if (r.sampling.n_logprobs >= 0) update.logprobs = std::move(output.logprobs);
  update.prompt_logprobs = std::exchange(r.prompt_logprobs, {});
  const bool may_stop = r.n_outputs() >= r.sampling.min_tokens;
  r.tokens.push_back(output.token);
  ++n_generated_tokens_;
  if (r.first_token_ns == 0) {
    r.first_token_ns = now_ns;
    if (r.n_resumed == 0) metrics_.observe_first_token(now_ns - r.submit_ns);
  } else {
    metrics_.observe_token_gap(now_ns - r.last_token_ns);
  }
  r.last_token_ns = now_ns;
  if (r.state.now() == RequestState::kPrefill) r.state.to(RequestState::kDecode);

  const bool is_stop = std::find(r.stop_token_ids.begin(), r.stop_token_ids.end(), output.token) !=
                       r.stop_token_ids.end();
  if (may_stop && is_stop) {
    finish(slot, {.reason = wire::FinishReason::kStop, .stop_token = output.token}, now_ns,
           std::move(update));
    return;
  }
  if (r.n_tokens() >= r.n_limit) {
    finish(slot, {.reason = wire::FinishReason::kLength}, now_ns, std::move(update));
    return;
  }
  running_[static_cast<size_t>(r.running_index)].n_goal = r.n_goal();
  if (r.continuous_usage) fill_usage(r, now_ns, update);
  r.router_state->updates.push_back(std::move(update));
}

}  // namespace trireme::coordinator
