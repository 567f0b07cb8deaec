#include "router/generation.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "router/api/json_text.h"
#include "router/generation_choice.h"

namespace trireme::router {
namespace {

constexpr size_t kInlineBodyBytes = 4096;  // parsed and tokenized on the loop: well under 100 us

int32_t priority_of(const GenerationRequest& request, const KeyConfig& key, bool has_keys) {
  // A key says what its tenant may have; a request can only step back from there.
  if (!has_keys) return request.priority;
  return static_cast<int32_t>(std::min<int64_t>(
      int64_t{key.priority} + std::max(0, request.priority), std::numeric_limits<int32_t>::max()));
}

const char* id_prefix(CallKind kind) {
  switch (kind) {
    case CallKind::kChat:
      return "chatcmpl";
    case CallKind::kCompletion:
      return "cmpl";
    case CallKind::kEmbedding:
      return "embd";
  }
  return "";
}

std::optional<ApiError> parse(CallKind kind, std::string_view body, const RequestBounds& bounds,
                              GenerationRequest* request) {
  switch (kind) {
    case CallKind::kChat:
      return parse_chat_request(body, bounds, request);
    case CallKind::kCompletion:
      return parse_completion_request(body, bounds, request);
    case CallKind::kEmbedding:
      return parse_embedding_request(body, bounds, request);
  }
  return std::nullopt;
}

}  // namespace

GenerationCall::GenerationCall(Serving& serving, std::shared_ptr<Exchange> exchange, CallKind kind,
                               const KeyConfig& key, std::string trace)
    : serving_(serving),
      exchange_(std::move(exchange)),
      kind_(kind),
      key_(key),
      trace_(std::move(trace)),
      names_(nullptr, false) {
  identity_.chat = kind == CallKind::kChat;
  identity_.id = fmt::format("{}-{:016x}{:016x}", id_prefix(kind), serving_.random.next(),
                             serving_.random.next());
  identity_.model = serving_.model.name;
  identity_.created_s = serving_.clock.unix_ns() / kSecondNs;
  received_ns_ = exchange_->request().received_ns;
  last_write_ns_ = received_ns_;
}

GenerationCall::~GenerationCall() = default;

void GenerationCall::begin() {
  serving_.calls.emplace(this, shared_from_this());
  exchange_->set_on_hang_up([weak = weak_from_this()](HangUp reason) {
    if (const auto self = weak.lock()) self->on_hang_up(reason);
  });
  context_.model = &serving_.model;
  context_.limits = serving_.config.limits;
  context_.context = serving_.context();
  context_.now_s = serving_.clock.unix_ns() / kSecondNs;
  context_.random_seed = serving_.random.next();
  if (exchange_->request().body.size() <= kInlineBodyBytes || serving_.pool == nullptr) {
    parse_and_prepare();
    return admit();
  }
  serving_.pool->run([self = shared_from_this()] {
    self->parse_and_prepare();
    self->serving_.loop.post([self] { self->admit(); });
  });
}

void GenerationCall::parse_and_prepare() {
  const RequestBounds bounds{context_.limits, context_.model->vocab, context_.context};
  // Parsed once: a stream may run for minutes and needs no megabytes of body.
  const std::string body = std::exchange(exchange_->request().body, {});
  error_ = parse(kind_, body, bounds, &request_);
  if (error_) return;
  if (!request_.model.empty() && request_.model != context_.model->name) {
    error_ = ApiError{404,
                      "the model is not served here; GET /v1/models lists what is",
                      "",
                      "model",
                      "model_not_found",
                      0};
    return;
  }
  if (request_.embed != context_.model->encoder) {
    error_ = bad_request(request_.embed ? "this model makes tokens and no embeddings"
                                        : "this model makes embeddings: use /v1/embeddings",
                         "model");
    return;
  }
  const auto& tokenizer = context_.model->tokenizer;
  names_ = TokenNames(tokenizer ? &*tokenizer : nullptr, request_.return_tokens_as_token_ids);
  error_ = prepare(request_, context_, &prepared_);
}

std::optional<ApiError> GenerationCall::check_admission(RateRefusal* refusal) {
  if (error_) return error_;
  if (serving_.draining) {
    return ApiError{503, "the server is shutting down", "", "", "draining", 1};
  }
  if (!key_.models.empty() &&
      std::find(key_.models.begin(), key_.models.end(), serving_.model.name) == key_.models.end()) {
    return ApiError{403, "this key may not use the model", "", "model", "permission_denied", 0};
  }
  if (serving_.streams[key_.name] >= serving_.config.limits.streams_per_key) {
    serving_.metrics.count_rejected("streams");
    return ApiError{429,
                    fmt::format("the limit of {} requests at once is reached",
                                serving_.config.limits.streams_per_key),
                    "",
                    "",
                    "rate_limit_exceeded",
                    1};
  }
  const auto n_sequences = static_cast<int64_t>(prepared_.prompts.size()) * request_.n;
  const Status room =
      serving_.upstream->check_room(n_sequences, prepared_.n_prompt_tokens * request_.n);
  if (!room.ok()) {
    serving_.metrics.count_rejected("queue");
    return to_api_error(room.error());
  }
  charged_tokens_ = prepared_.n_prompt_tokens + prepared_.n_max_tokens;
  if (auto refused = serving_.limiter.admit(key_, serving_.model.name, charged_tokens_,
                                            serving_.clock.now_ns())) {
    serving_.metrics.count_rejected(refused->type);
    *refusal = *refused;
    return ApiError{429,
                    refused->message,
                    refused->type,
                    "",
                    "rate_limit_exceeded",
                    std::max<int64_t>(1, (refused->retry_after_ns + kSecondNs - 1) / kSecondNs)};
  }
  return std::nullopt;
}

void GenerationCall::admit() {
  if (ended_) return;
  serving_.now_ns = serving_.clock.now_ns();
  RateRefusal refusal;
  if (const auto error = check_admission(&refusal)) return fail(*error);
  admitted_ = true;
  ++serving_.streams[key_.name];
  serving_.metrics.overhead.observe(static_cast<double>(serving_.now_ns - received_ns_) * 1e-9);
  if (!start_choices()) serving_.mark_dirty(this);
}

bool GenerationCall::start_choices() {
  const auto& tokenizer = serving_.model.tokenizer;
  ChoiceTextOptions options;
  options.tokenizer = tokenizer ? &*tokenizer : nullptr;
  options.skip_special_tokens = request_.skip_special_tokens;
  options.stop = request_.stop;
  options.include_stop = request_.include_stop_str_in_output;
  options.min_tokens = request_.min_tokens;
  const std::string salt = hmac_sha256_hex(key_.name, request_.cache_salt);
  for (const PreparedPrompt& prompt : prepared_.prompts) {
    for (int i = 0; i < request_.n; ++i) {
      auto text = ChoiceText::create(options, *prompt.ids);
      if (!text.ok()) {
        error_ = to_api_error(text.error());
        return false;
      }
      choices_.push_back(std::make_unique<Choice>(*this, static_cast<int>(choices_.size()), prompt,
                                                  std::move(*text)));
    }
  }
  for (const auto& choice : choices_) {
    JobSpec spec;
    spec.trace = trace_;
    spec.tenant = key_.name;
    spec.prompt = choice->prompt.ids;
    spec.max_tokens = choice->prompt.max_tokens;
    spec.stop_token_ids = prepared_.stop_token_ids;
    spec.sampling = prepared_.sampling;
    spec.sampling.seed += static_cast<uint64_t>(choice->index % request_.n);
    spec.priority = priority_of(request_, key_, !serving_.keys.empty());
    spec.cache_salt = salt;
    // A sequence that a stop string ends here has no last word of its replica: its cost must come
    // on the way.
    spec.embed = request_.embed;
    spec.continuous_usage = request_.continuous_usage_stats || !request_.stop.empty();
    spec.deadline_ns = serving_.clock.now_ns() + serving_.config.limits.request_timeout_ns;
    choice->job = serving_.upstream->start(std::move(spec), choice.get());
    if (error_) return false;
  }
  return true;
}

// ---- output ----

HttpHeaders GenerationCall::headers() const {
  HttpHeaders out;
  const int64_t now_ns = serving_.clock.now_ns();
  out.emplace_back("x-request-id", trace_);
  out.emplace_back("openai-processing-ms",
                   std::to_string((now_ns - received_ns_) / kMillisecondNs));
  if (serving_.keys.empty()) return out;
  const RateHeaders rates = serving_.limiter.headers(key_, serving_.model.name, now_ns);
  const auto add = [&](const char* kind, int64_t limit, int64_t remaining, int64_t reset_ns) {
    out.emplace_back(fmt::format("x-ratelimit-limit-{}", kind), std::to_string(limit));
    out.emplace_back(fmt::format("x-ratelimit-remaining-{}", kind), std::to_string(remaining));
    out.emplace_back(fmt::format("x-ratelimit-reset-{}", kind), format_reset(reset_ns));
  };
  if (rates.has_requests) {
    add("requests", rates.limit_requests, rates.remaining_requests, rates.reset_requests_ns);
  }
  if (rates.has_tokens) {
    add("tokens", rates.limit_tokens, rates.remaining_tokens, rates.reset_tokens_ns);
  }
  return out;
}

void GenerationCall::start_stream() {
  if (!exchange_->stream_started() && !ended_) exchange_->start_stream(headers());
}

UsageNumbers GenerationCall::usage() const {
  UsageNumbers numbers;
  numbers.prompt_tokens = prepared_.n_prompt_tokens;
  std::vector<int64_t> cached(prepared_.prompts.size(), 0);
  for (const auto& choice : choices_) {
    numbers.completion_tokens += choice->n_output;
    numbers.cost_nano_usd += choice->cost_nano_usd;
    // The n choices of a prompt warm the cache for each other; the client's prompt counts once.
    int64_t& known = cached[static_cast<size_t>(choice->index / request_.n)];
    known = choice->index % request_.n == 0 ? choice->cached_tokens
                                            : std::min(known, choice->cached_tokens);
  }
  for (const int64_t n : cached) numbers.cached_tokens += n;
  return numbers;
}

bool GenerationCall::all_finished() const {
  return std::all_of(choices_.begin(), choices_.end(),
                     [](const auto& choice) { return choice->finished; });
}

void GenerationCall::after_batch() {
  dirty_ = false;
  if (ended_) return;
  if (error_) return fail(*error_);
  const bool done = all_finished();
  if (!request_.stream) {
    if (!done) return;
    return request_.embed ? respond_embeddings() : respond_whole();
  }
  if (!exchange_->stream_started()) return;
  // Tokens that show nothing (special ones, half a character, what may become a stop string) break
  // no silence.
  if (exchange_->has_pending()) last_write_ns_ = serving_.now_ns;
  if (!done) return exchange_->flush();
  if (request_.include_usage) append_usage_event(exchange_->pending(), identity_, usage());
  append_done_event(exchange_->pending());
  exchange_->end_stream();
  settle(choices_.front()->finish_reason);
}

void GenerationCall::respond_embeddings() {
  HttpResponse response{.status = 200, .headers = headers()};
  std::string& body = response.body;
  body += R"({"object":"list","data":[)";
  for (const auto& choice : choices_) {
    if (choice->index > 0) body += ',';
    append_embedding(body, choice->index, choice->embedding, request_.base64);
  }
  body += R"(],"model":)";
  append_json_string(body, identity_.model);
  body += R"(,"usage":)";
  append_usage(body, usage());
  body += '}';
  exchange_->respond(std::move(response));
  settle(choices_.front()->finish_reason);
}

void GenerationCall::respond_whole() {
  HttpResponse response{.status = 200, .headers = headers()};
  std::string& body = response.body;
  append_response_head(body, identity_);
  body += R"(,"choices":[)";
  std::string prompt_ids;
  std::string prompt_logprobs;
  for (const auto& choice : choices_) {
    if (choice->index > 0) body += ',';
    WholeChoice whole = choice->take_whole();
    append_whole_choice(body, identity_, whole);
    if (choice->index == 0) {
      prompt_ids = std::move(whole.prompt_token_ids);
      prompt_logprobs = std::move(whole.prompt_logprobs);
    }
  }
  body += R"(],"usage":)";
  append_usage(body, usage());
  if (identity_.chat && !prompt_ids.empty()) body += R"(,"prompt_token_ids":)" + prompt_ids;
  if (identity_.chat && !prompt_logprobs.empty())
    body += R"(,"prompt_logprobs":)" + prompt_logprobs;
  body += '}';
  exchange_->respond(std::move(response));
  settle(choices_.front()->finish_reason);
}

void GenerationCall::fail(const ApiError& error) {
  if (ended_) return;
  cancel_jobs();
  if (exchange_->stream_started()) {
    serving_.metrics.stream_errors.add();
    append_error_event(exchange_->pending(), error);
    append_done_event(exchange_->pending());
    exchange_->end_stream();
  } else {
    HttpResponse response = error_response(error);
    HttpHeaders all = headers();
    response.headers.insert(response.headers.end(), all.begin(), all.end());
    exchange_->respond(std::move(response));
  }
  settle(outcome_label(error));
}

void GenerationCall::abort(const ApiError& error) { fail(error); }

void GenerationCall::tick(int64_t now_ns) {
  if (ended_ || !admitted_ || !request_.stream || error_) return;
  const int64_t silence_ns = serving_.config.router.stream_ping_ns;
  if (silence_ns == 0 || now_ns - last_write_ns_ < silence_ns) return;
  last_write_ns_ = now_ns;
  start_stream();
  exchange_->pending() += kPing;
  exchange_->flush();
}

void GenerationCall::on_hang_up(HangUp reason) {
  if (ended_) return;
  cancel_jobs();
  if (reason == HangUp::kSlowReader) serving_.metrics.slow_readers.add();
  settle(reason == HangUp::kSlowReader ? "slow_reader" : "cancelled");
}

void GenerationCall::cancel_jobs() {
  for (const auto& choice : choices_) {
    if (!choice->finished && choice->job != 0) serving_.upstream->cancel(choice->job);
    choice->finished = true;
  }
}

// The last thing that happens to a call: limits, books, metrics, one log line without a word of the
// prompt.
void GenerationCall::settle(const std::string& outcome) {
  ended_ = true;
  const int64_t now_ns = serving_.clock.now_ns();
  RouterMetrics& metrics = serving_.metrics;
  metrics.count_outcome(outcome);
  const UsageNumbers used = admitted_ ? usage() : UsageNumbers{};
  if (admitted_) {
    --serving_.streams[key_.name];
    serving_.limiter.settle(key_, serving_.model.name, charged_tokens_,
                            used.prompt_tokens + used.completion_tokens, now_ns);
    TenantUsage& book = serving_.usage[key_.name];
    ++book.requests;
    book.prompt_tokens += used.prompt_tokens;
    book.cached_tokens += used.cached_tokens;
    book.completion_tokens += used.completion_tokens;
    book.cost_nano_usd += used.cost_nano_usd;
    metrics.count_tenant(key_.name, used.prompt_tokens, used.cached_tokens, used.completion_tokens,
                         used.cost_nano_usd);
    metrics.generation_tokens.add(static_cast<double>(used.completion_tokens));
    metrics.prompt_tokens_cached.add(static_cast<double>(used.cached_tokens));
    metrics.prompt_tokens_computed.add(
        static_cast<double>(used.prompt_tokens - used.cached_tokens));
    metrics.prompt_tokens.observe(static_cast<double>(used.prompt_tokens));
    metrics.output_tokens.observe(static_cast<double>(used.completion_tokens));
    const double e2e_s = static_cast<double>(now_ns - received_ns_) * 1e-9;
    metrics.e2e.observe(e2e_s);
    if (first_token_ns_ != 0 && used.completion_tokens > 1) {
      const double decode_s = static_cast<double>(now_ns - first_token_ns_) * 1e-9;
      metrics.tpot.observe(decode_s / static_cast<double>(used.completion_tokens - 1));
    }
    for (const auto& choice : choices_) {
      if (choice->finish_reason.empty()) continue;
      metrics.queue_time.observe(static_cast<double>(choice->queue_ns) * 1e-9);
      metrics.prefill_time.observe(static_cast<double>(choice->prefill_ns) * 1e-9);
      metrics.decode_time.observe(static_cast<double>(choice->decode_ns) * 1e-9);
    }
    log::debug("request {} of {}: {}, {} prompt ({} cached), {} output tokens, {:.3f} s", trace_,
               key_.name, outcome, used.prompt_tokens, used.cached_tokens, used.completion_tokens,
               e2e_s);
  }
  // Not now: a caller up the stack may still be inside this object.
  serving_.loop.post(
      [self = shared_from_this(), &serving = serving_] { serving.calls.erase(self.get()); });
}

// ---- Serving ----

int32_t Serving::context() const {
  const int32_t replicas = upstream->replicas_context();
  return replicas > 0 ? std::min(replicas, model.context) : model.context;
}

void Serving::mark_dirty(GenerationCall* call) {
  if (call->dirty_) return;
  call->dirty_ = true;
  dirty.push_back(call->shared_from_this());
  if (in_batch || flush_posted) return;
  flush_posted = true;
  loop.post([this] {
    flush_posted = false;
    flush_dirty();
  });
}

void Serving::flush_dirty() {
  for (size_t i = 0; i < dirty.size(); ++i) {  // ending one may mark others
    const auto call = std::move(dirty[i]);
    call->after_batch();
  }
  dirty.clear();
}

}  // namespace trireme::router
