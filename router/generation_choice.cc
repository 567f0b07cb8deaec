#include "router/generation_choice.h"

#include "router/api/json_text.h"

namespace trireme::router {

GenerationCall::Choice::Choice(GenerationCall& call, int choice_index,
                               const PreparedPrompt& of_prompt, ChoiceText text)
    : index(choice_index),
      prompt(of_prompt),
      call_(call),
      text_(std::move(text)),
      events_(call.identity_, choice_index, call.request_.include_usage),
      completion_logprobs_(std::max(0, call.request_.n_logprobs)) {}

bool GenerationCall::Choice::on_update(const JobUpdate& update) {
  const GenerationRequest& request = call_.request_;
  const int64_t now_ns = call_.serving_.now_ns;
  cached_tokens = std::max<int64_t>(cached_tokens, update.cached_tokens);
  cost_nano_usd = std::max(cost_nano_usd, update.cost_nano_usd);
  embedding.assign(update.embedding.begin(), update.embedding.end());
  if (!update.prompt_logprobs.empty()) take_prompt_logprobs(update.prompt_logprobs);
  if (!began_) begin_output();

  scratch_.clear();
  const int32_t stop_token = update.finish == wire::FinishReason::kStop ? update.stop_token : -1;
  const ChoiceText::Step step = text_.push(update.tokens, stop_token, scratch_);
  JobUpdate kept = update;
  kept.tokens = update.tokens.first(step.n_tokens);
  if (!kept.tokens.empty()) {
    if (call_.first_token_ns_ == 0) {
      call_.first_token_ns_ = now_ns;
      call_.serving_.metrics.ttft.observe(static_cast<double>(now_ns - call_.received_ns_) * 1e-9);
    }
    if (last_token_ns_ != 0) {
      call_.serving_.metrics.itl.observe(static_cast<double>(now_ns - last_token_ns_) * 1e-9);
    }
    last_token_ns_ = now_ns;
    take_tokens(kept);
  }
  int stop_string = step.stop_string;
  const bool ended = update.finish != wire::FinishReason::kNone;
  if (stop_string < 0 && ended) stop_string = text_.finish(scratch_);
  emit(scratch_);
  if (ended) {
    queue_ns = update.queue_ns;
    prefill_ns = update.prefill_ns;
    decode_ns = update.decode_ns;
  }
  if (stop_string >= 0) {
    std::string reason;
    append_json_string(reason, request.stop[static_cast<size_t>(stop_string)]);
    end("stop", std::move(reason));
  } else if (update.finish == wire::FinishReason::kStop) {
    const auto& own = request.stop_token_ids;
    const bool is_own = std::find(own.begin(), own.end(), update.stop_token) != own.end();
    end("stop", is_own ? std::to_string(update.stop_token) : "null");
  } else if (ended) {
    end("length", "null");
  }
  call_.serving_.mark_dirty(&call_);
  return !finished;
}

void GenerationCall::Choice::on_error(const Error& error) {
  finished = true;
  if (!call_.error_) call_.error_ = to_api_error(error);
  call_.serving_.mark_dirty(&call_);
}

// Before the first byte: the role, or the echoed prompt with its log-probabilities.
void GenerationCall::Choice::begin_output() {
  began_ = true;
  const GenerationRequest& request = call_.request_;
  // The head goes out now, also where the first tokens show nothing.
  if (request.stream) call_.start_stream();
  if (request.stream && call_.identity_.chat) {
    std::string ids;
    if (request.return_token_ids) ids = ids_json(prompt.ids->data(), prompt.ids->size());
    sent_prompt_ids_ = true;
    events_.role(call_.exchange_->pending(), {.prompt_token_ids = ids, .usage = usage_json()});
  }
  if (!request.echo) return;
  if (request.n_logprobs >= 0 && prompt_logprobs_.empty()) {
    // A prompt of one token has no probability that anything says.
    take_prompt_logprobs({});
  }
  if (request.stream) {
    write_text(prompt.echo_text);
  } else {
    whole_text_ += prompt.echo_text;
  }
}

void GenerationCall::Choice::take_prompt_logprobs(
    std::span<const step::PositionLogprobs> positions) {
  const GenerationRequest& request = call_.request_;
  if (request.echo && request.n_logprobs >= 0) {
    const std::vector<int32_t>& ids = *prompt.ids;
    completion_logprobs_.add(call_.names_, ids[0], nullptr);
    for (size_t i = 1; i < ids.size() && i - 1 < positions.size(); ++i) {
      completion_logprobs_.add(call_.names_, ids[i], &positions[i - 1]);
    }
  }
  append_prompt_logprobs(prompt_logprobs_, call_.names_, positions, request.n_prompt_logprobs);
}

void GenerationCall::Choice::take_tokens(const JobUpdate& update) {
  const GenerationRequest& request = call_.request_;
  n_output += static_cast<int64_t>(update.tokens.size());
  if (request.return_token_ids) {
    pending_ids_.insert(pending_ids_.end(), update.tokens.begin(), update.tokens.end());
  }
  if (request.n_logprobs < 0 || update.logprobs.size() < update.tokens.size()) return;
  for (size_t i = 0; i < update.tokens.size(); ++i) {
    if (call_.identity_.chat) {
      if (!chat_logprobs_.empty()) chat_logprobs_ += ',';
      append_chat_logprob(chat_logprobs_, call_.names_, update.logprobs[i], request.n_logprobs);
    } else {
      completion_logprobs_.add(call_.names_, update.tokens[i], &update.logprobs[i]);
    }
  }
}

void GenerationCall::Choice::emit(std::string_view piece) {
  if (!call_.request_.stream) {
    whole_text_ += piece;
    return;
  }
  // A chat's deltas are never empty: ids and probabilities of a token that shows nothing ride with
  // the next one.
  const bool extras = !pending_ids_.empty() || !completion_logprobs_.empty();
  if (piece.empty() && (call_.identity_.chat || !extras)) return;
  write_text(piece);
}

void GenerationCall::Choice::end(std::string_view reason, std::string stop_reason) {
  finished = true;
  finish_reason = reason;
  stop_reason_ = std::move(stop_reason);
  if (call_.request_.stream) write_finish();
}

std::string GenerationCall::Choice::take_logprobs() {
  std::string out;
  if (call_.request_.n_logprobs < 0) return out;
  if (!call_.identity_.chat) {
    if (!completion_logprobs_.empty() || !call_.request_.stream) completion_logprobs_.take(out);
  } else if (!chat_logprobs_.empty() || !call_.request_.stream) {
    out = R"({"content":[)" + chat_logprobs_ + R"(],"refusal":null})";
    chat_logprobs_.clear();
  }
  return out;
}

const std::string& GenerationCall::Choice::usage_json() {
  usage_.clear();
  if (call_.request_.continuous_usage_stats) append_usage(usage_, call_.usage());
  return usage_;
}

void GenerationCall::Choice::write_text(std::string_view piece) {
  call_.start_stream();
  ChoiceExtras extras;
  std::string logprobs;
  std::string ids;
  std::string prompt_ids;
  const GenerationRequest& request = call_.request_;
  if (request.n_logprobs >= 0) extras.logprobs = logprobs = take_logprobs();
  if (!pending_ids_.empty()) {
    extras.token_ids = ids = ids_json(pending_ids_.data(), pending_ids_.size());
    pending_ids_.clear();
  }
  if (request.return_token_ids && !sent_prompt_ids_) {
    sent_prompt_ids_ = true;
    extras.prompt_token_ids = prompt_ids = ids_json(prompt.ids->data(), prompt.ids->size());
  }
  if (request.continuous_usage_stats) extras.usage = usage_json();
  events_.text(call_.exchange_->pending(), piece, extras);
}

void GenerationCall::Choice::write_finish() {
  call_.start_stream();
  ChoiceExtras extras;
  const std::string logprobs = take_logprobs();
  std::string ids;
  if (!pending_ids_.empty()) ids = ids_json(pending_ids_.data(), pending_ids_.size());
  extras.logprobs = logprobs;
  extras.token_ids = ids;
  extras.usage = usage_json();
  events_.finish(call_.exchange_->pending(), finish_reason, stop_reason_, extras);
}

WholeChoice GenerationCall::Choice::take_whole() {
  const GenerationRequest& request = call_.request_;
  WholeChoice whole;
  whole.index = index;
  whole.text = std::move(whole_text_);
  whole.finish_reason = finish_reason;
  whole.stop_reason = stop_reason_;
  whole.logprobs = take_logprobs();
  if (request.return_token_ids) {
    whole.token_ids = ids_json(pending_ids_.data(), pending_ids_.size());
    whole.prompt_token_ids = ids_json(prompt.ids->data(), prompt.ids->size());
  }
  // Echoed log-probabilities are asked of the replica too, but the client did not ask for this form
  // of them.
  const bool asked = request.n_prompt_logprobs >= 0 && !(request.echo && request.n_logprobs >= 0);
  if (asked) whole.prompt_logprobs = std::move(prompt_logprobs_);
  return whole;
}

}  // namespace trireme::router
