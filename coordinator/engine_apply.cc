// A step's result applied: the only place where a sequence advances.
#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/check.h"
#include "coordinator/engine.h"

namespace trireme::coordinator {

Status Engine::apply(step::StepResult result) {
  if (warm_up_) return end_warm_up(result);
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
    const bool has_output = span.sample || span.embed || span.n_logprob_positions > 0;
    step::SequenceOutput* output = has_output ? &result.outputs[next_output++] : nullptr;
    if (wanted(span)) advance(span, output, now_ns);
  }
  metrics_.generation_tokens.add(static_cast<double>(n_generated_tokens_ - n_generated_before));
  metrics_.flush_token_gaps();
  step.spans.clear();
  step.work.clear();
  step.n_prompt = step.n_recomputed = step.n_resumed = 0;
  spare_step_ = std::move(step);
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
    if (!span.sample && !span.embed && span.n_logprob_positions == 0) continue;
    if (n_outputs == result.outputs.size()) return wrong("outputs are missing");
    const step::SequenceOutput& output = result.outputs[n_outputs++];
    if (output.id != span.sequence) return wrong("outputs are not in the plan's order");
    if (span.sample && (output.token < 0 || output.token >= options_.vocab)) {
      return wrong(fmt::format("token {} is outside the vocabulary", output.token));
    }
    const auto width = static_cast<size_t>(span.embed ? options_.embedding_width : 0);
    if (output.embedding.size() != width) return wrong("a vector is missing or of a wrong width");
    if (span.sample_logprobs && output.logprobs.size() != 1) {
      return wrong("a sampled token has no logprobs");
    }
    if (output.prompt_logprobs.size() != static_cast<size_t>(span.n_logprob_positions)) {
      return wrong("prompt logprobs are missing");
    }
  }
  if (n_outputs != result.outputs.size()) return wrong("there are too many outputs");
  return {};
}

void Engine::book_costs(InFlightStep& step, int64_t now_ns) {
  if (options_.run_ahead) {
    size_t next = 0;
    for (const InFlightSpan& span : step.spans) {
      const size_t first = std::exchange(next, next + span.n_work);
      if (wanted(span)) continue;
      for (size_t i = first; i < next; ++i) step.work[i].part = LedgerPart::kIdle;
    }
  }
  costs_.resize(step.work.size());
  ledger_.book_step(now_ns, step.work, costs_);
  size_t i = 0;
  for (size_t s = 0; s < step.spans.size(); ++s) {
    const InFlightSpan& span = step.spans[s];
    if (s + kAhead < step.spans.size()) fetch_ahead(step.spans[s + kAhead].slot);
    if (!wanted(span)) {
      for (const size_t end = i + span.n_work; i < end; ++i) {
        metrics_.add_own_cost(LedgerPart::kIdle, costs_[i]);
      }
      continue;
    }
    Request& r = request(span.slot);
    __builtin_prefetch(r.tokens.data() + r.tokens.size(), 1);  // advance() appends there
    for (const size_t end = i + span.n_work; i < end; ++i) {
      const Work& work = step.work[i];
      if (work.part == LedgerPart::kPrefill || work.part == LedgerPart::kDecode) {
        r.cost_nano_usd += costs_[i];
      }
      tenants_.serve(span.tenant, work.units);
      metrics_.add_cost(span.tenant, work.part, costs_[i]);
    }
  }
  metrics_.flush_costs();
  n_prompt_tokens_ += step.n_prompt;
  metrics_.add_prompt_tokens(step.n_prompt, step.n_recomputed, step.n_resumed);
}

void Engine::advance(const InFlightSpan& span, step::SequenceOutput* output, int64_t now_ns) {
  Request& r = request(span.slot);
  --r.n_in_flight;
  if (r.state.now() == RequestState::kEnding) {
    if (r.n_in_flight == 0) finish(span.slot, std::move(*r.finish), now_ns);
    return;
  }
  RunningSequence& running = running_[static_cast<size_t>(r.running_index)];
  CHECK_EQ(running.sequence, span.sequence);
  --running.n_in_flight;
  CHECK_EQ(running.n_computed, span.first_position);
  running.n_computed += span.n_tokens;
  if (running.n_computed >= r.n_settle_at) settle_blocks(r, running);
  if (output != nullptr) collect_prompt_logprobs(r, *output);
  if (span.sample) {
    take_token(span.slot, *output, now_ns);
  } else if (!r.samples && running.n_computed == running.n_goal) {
    wire::TokenUpdate update;
    update.first_index = r.n_outputs();
    update.prompt_logprobs = std::move(r.prompt_logprobs);
    if (span.embed) update.embedding = std::move(output->embedding);
    r.first_token_ns = now_ns;
    const auto reason = span.embed ? wire::FinishReason::kStop : wire::FinishReason::kLength;
    finish(span.slot, {.reason = reason}, now_ns, std::move(update));
  }
}

void Engine::collect_prompt_logprobs(Request& r, step::SequenceOutput& output) {
  for (step::PositionLogprobs& position : output.prompt_logprobs) {
    r.prompt_logprobs.push_back(std::move(position));
  }
}

// Gives names to the blocks that are full and computed, so that others may find them, and gives
// those back that no later position sees.
void Engine::settle_blocks(Request& r, RunningSequence& running) {
  if (config_.prefix_cache) extend_hashes(r, running.n_computed);
  r.blocks.settle(
      config_.prefix_cache ? std::span<const BlockHash>(r.hashes) : std::span<const BlockHash>(),
      running.n_computed);
  r.n_settle_at = r.blocks.next_settle(config_.prefix_cache);
  running.n_held = r.blocks.n_held();
}

void Engine::take_token(uint32_t slot, step::SequenceOutput& output, int64_t now_ns) {
  Request& r = request(slot);
  auto& updates = r.router_state->news.updates;
  wire::TokenUpdate& update = updates.emplace_back();
  update.request = r.id;
  update.first_index = r.n_outputs();
  update.tokens.push_back(output.token);
  if (r.sampling.n_logprobs >= 0) update.logprobs = std::move(output.logprobs);
  if (!r.prompt_logprobs.empty()) update.prompt_logprobs = std::exchange(r.prompt_logprobs, {});
  CHECK_LE(r.n_in_flight, options_.run_ahead ? 1 : 0) << "a step was planned behind this sample";
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
  const bool stops = may_stop && is_stop;
  if (stops || r.n_tokens() >= r.n_limit) {
    wire::TokenUpdate last = std::move(update);
    updates.pop_back();
    Finish how = {.reason = wire::FinishReason::kLength};
    if (stops) how = {.reason = wire::FinishReason::kStop, .stop_token = output.token};
    return finish(slot, std::move(how), now_ns, std::move(last));
  }
  RunningSequence& running = running_[static_cast<size_t>(r.running_index)];
  running.n_goal = r.n_goal();
  running.last_token = output.token;
  if (r.continuous_usage) fill_usage(r, now_ns, update);
}

}  // namespace trireme::coordinator
