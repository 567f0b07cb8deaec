// The codec of the router-replica link: see codec.h.
#include <fmt/format.h>

#include <utility>

#include "parallel/wire/codec.h"
#include "parallel/wire/limits.h"
#include "parallel/wire/pb_convert.h"

namespace trireme::wire {
namespace {

// ---- replica to router ----

void put(const Hello& from, pb::FromReplica* message) {
  pb::Hello* to = message->mutable_hello();
  to->set_major(from.major);
  to->set_minor(from.minor);
  to->set_replica(from.replica);
  to->set_epoch(from.epoch);
  to->set_model(from.model);
  to->set_model_fingerprint(from.model_fingerprint);
  to->set_plan(clean_sentence(from.plan));
  to->set_n_devices(from.n_devices);
  to->set_context(from.context);
  to->set_vocab(from.vocab);
  to->set_block_size(from.block_size);
  to->set_n_kv_blocks(from.n_kv_blocks);
  to->set_max_running(from.max_running);
  to->set_embedding_width(from.embedding_width);
}

Hello take_hello(const pb::Hello& from) {
  Hello to;
  to.major = from.major();
  to.minor = from.minor();
  to.replica = from.replica();
  to.epoch = from.epoch();
  to.model = from.model();
  to.model_fingerprint = from.model_fingerprint();
  to.plan = clean_sentence(from.plan());
  to.n_devices = from.n_devices();
  to.context = from.context();
  to.vocab = from.vocab();
  to.block_size = from.block_size();
  to.n_kv_blocks = from.n_kv_blocks();
  to.max_running = from.max_running();
  to.embedding_width = from.embedding_width();
  return to;
}

void put(const Heartbeat& from, pb::FromReplica* message) {
  pb::Heartbeat* to = message->mutable_heartbeat();
  to->set_epoch(from.epoch);
  pb::Load* load = to->mutable_load();
  load->set_running(from.load.running);
  load->set_waiting(from.load.waiting);
  load->set_waiting_tokens(from.load.waiting_tokens);
  load->set_kv_blocks_used(from.load.kv_blocks_used);
  load->set_kv_blocks_total(from.load.kv_blocks_total);
  load->set_draining(from.load.draining);
}

Heartbeat take_heartbeat(const pb::Heartbeat& from) {
  const pb::Load& load = from.load();
  return {.epoch = from.epoch(),
          .load = {.running = load.running(),
                   .waiting = load.waiting(),
                   .waiting_tokens = load.waiting_tokens(),
                   .kv_blocks_used = load.kv_blocks_used(),
                   .kv_blocks_total = load.kv_blocks_total(),
                   .draining = load.draining()}};
}

void put_update(const TokenUpdate& from, pb::TokenUpdate* to) {
  to->set_request(from.request);
  to->set_first_index(from.first_index);
  wire::put(to->mutable_tokens(), from.tokens);
  if (!from.logprobs.empty()) put_logprobs(from.logprobs, to->mutable_logprobs());
  if (!from.prompt_logprobs.empty()) {
    put_logprobs(from.prompt_logprobs, to->mutable_prompt_logprobs());
  }
  to->set_finish(static_cast<uint32_t>(from.finish));
  to->set_stop_token(from.stop_token);
  to->set_cached_tokens(from.cached_tokens);
  to->set_cost_nano_usd(from.cost_nano_usd);
  to->set_queue_ns(from.queue_ns);
  to->set_prefill_ns(from.prefill_ns);
  to->set_decode_ns(from.decode_ns);
  to->mutable_embedding()->Add(from.embedding.begin(), from.embedding.end());
  if (from.error.has_value()) {
    to->mutable_error()->set_code(static_cast<uint32_t>(from.error->code));
    to->mutable_error()->set_message(clean_sentence(from.error->message));
  }
}

void put(const TokenBatch& from, pb::FromReplica* message) {
  pb::TokenBatch* to = message->mutable_token_batch();
  to->set_epoch(from.epoch);
  to->mutable_updates()->Reserve(static_cast<int>(from.updates.size()));
  for (const TokenUpdate& update : from.updates) put_update(update, to->add_updates());
}

Status take_update(const pb::TokenUpdate& from, TokenUpdate& to) {
  if (from.finish() > static_cast<uint32_t>(FinishReason::kError)) {
    return invalid_argument(fmt::format("the finish reason {} is unknown", from.finish()));
  }
  if (from.has_logprobs()) TRY(check_logprobs(from.logprobs()));
  if (from.has_prompt_logprobs()) TRY(check_logprobs(from.prompt_logprobs()));
  to.request = from.request();
  to.first_index = from.first_index();
  to.tokens.assign(from.tokens().begin(), from.tokens().end());
  if (from.has_logprobs()) {
    int top = 0;
    to.logprobs = take_logprobs(from.logprobs(), 0, from.logprobs().token_size(), &top);
  }
  if (from.has_prompt_logprobs()) {
    int top = 0;
    const pb::Logprobs& columns = from.prompt_logprobs();
    to.prompt_logprobs = take_logprobs(columns, 0, columns.token_size(), &top);
  }
  to.finish = static_cast<FinishReason>(from.finish());
  to.stop_token = from.stop_token();
  to.cached_tokens = from.cached_tokens();
  to.cost_nano_usd = from.cost_nano_usd();
  to.queue_ns = from.queue_ns();
  to.prefill_ns = from.prefill_ns();
  to.decode_ns = from.decode_ns();
  to.embedding.assign(from.embedding().begin(), from.embedding().end());
  if (from.has_error()) {
    if (from.error().code() > static_cast<uint32_t>(ErrorCode::kInternal)) {
      return invalid_argument(fmt::format("the error code {} is unknown", from.error().code()));
    }
    to.error =
        Error{static_cast<ErrorCode>(from.error().code()), clean_sentence(from.error().message())};
  }
  return {};
}

Result<TokenBatch> take_batch(const pb::TokenBatch& from) {
  TokenBatch to;
  to.epoch = from.epoch();
  to.updates.resize(static_cast<size_t>(from.updates_size()));
  for (int i = 0; i < from.updates_size(); ++i) {
    TRY(take_update(from.updates(i), to.updates[static_cast<size_t>(i)]));
  }
  return to;
}

void put(const LedgerReport& from, pb::FromReplica* message) {
  pb::LedgerReport* to = message->mutable_ledger_report();
  to->set_epoch(from.epoch);
  to->set_device_ns(from.device_ns);
  to->set_total_nano_usd(from.total_nano_usd);
  to->set_prefill_nano_usd(from.prefill_nano_usd);
  to->set_decode_nano_usd(from.decode_nano_usd);
  to->set_idle_nano_usd(from.idle_nano_usd);
  to->set_startup_nano_usd(from.startup_nano_usd);
  to->set_recompute_nano_usd(from.recompute_nano_usd);
  to->set_resume_nano_usd(from.resume_nano_usd);
  to->set_prompt_tokens(from.prompt_tokens);
  to->set_cached_tokens(from.cached_tokens);
  to->set_generated_tokens(from.generated_tokens);
}

LedgerReport take_ledger(const pb::LedgerReport& from) {
  return {.epoch = from.epoch(),
          .device_ns = from.device_ns(),
          .total_nano_usd = from.total_nano_usd(),
          .prefill_nano_usd = from.prefill_nano_usd(),
          .decode_nano_usd = from.decode_nano_usd(),
          .idle_nano_usd = from.idle_nano_usd(),
          .startup_nano_usd = from.startup_nano_usd(),
          .recompute_nano_usd = from.recompute_nano_usd(),
          .resume_nano_usd = from.resume_nano_usd(),
          .prompt_tokens = from.prompt_tokens(),
          .cached_tokens = from.cached_tokens(),
          .generated_tokens = from.generated_tokens()};
}

void put(const Goodbye& from, pb::FromReplica* message) {
  message->mutable_goodbye()->set_reason(clean_sentence(from.reason));
}

Result<FromReplica> take_message(const pb::FromReplica& from) {
  switch (from.kind_case()) {
    case pb::FromReplica::kHello:
      return FromReplica(take_hello(from.hello()));
    case pb::FromReplica::kHeartbeat:
      return FromReplica(take_heartbeat(from.heartbeat()));
    case pb::FromReplica::kTokenBatch: {
      ASSIGN_OR_RETURN(TokenBatch batch, take_batch(from.token_batch()));
      return FromReplica(std::move(batch));
    }
    case pb::FromReplica::kLedgerReport:
      return FromReplica(take_ledger(from.ledger_report()));
    case pb::FromReplica::kGoodbye:
      return FromReplica(Goodbye{clean_sentence(from.goodbye().reason())});
    case pb::FromReplica::KIND_NOT_SET:
      break;
  }
  return invalid_argument("a message of an unknown kind from a replica");
}

// ---- router to replica ----

void put(const Welcome& from, pb::FromRouter* message) {
  message->mutable_welcome()->set_router_epoch(from.router_epoch);
  message->mutable_welcome()->set_router(from.router);
}
void put(const Refused& from, pb::FromRouter* message) {
  message->mutable_refused()->set_reason(clean_sentence(from.reason));
}
void put(const HelloAgain&, pb::FromRouter* message) { message->mutable_hello_again(); }
void put(const RouterHeartbeat& from, pb::FromRouter* message) {
  message->mutable_heartbeat()->set_router_epoch(from.router_epoch);
}
void put(const Submit& from, pb::FromRouter* message) {
  pb::Submit* to = message->mutable_submit();
  to->set_request(from.request);
  to->set_trace(from.trace);
  to->set_tenant(from.tenant);
  wire::put(to->mutable_tokens(), from.tokens);
  to->set_n_prompt(from.n_prompt);
  to->set_max_tokens(from.max_tokens);
  wire::put(to->mutable_stop_token_ids(), from.stop_token_ids);
  put_sampling(from.sampling, to->mutable_sampling());
  to->set_priority(from.priority);
  to->set_deadline_unix_ns(from.deadline_unix_ns);
  to->set_cache_salt(from.cache_salt);
  to->set_resumed(from.resumed);
  to->set_continuous_usage(from.continuous_usage);
  to->set_embed(from.embed);
}
void put(const Cancel& from, pb::FromRouter* message) {
  message->mutable_cancel()->set_request(from.request);
}
void put(const Drain&, pb::FromRouter* message) { message->mutable_drain(); }

Result<Submit> take_submit(const pb::Submit& from) {
  Submit to;
  ASSIGN_OR_RETURN(to.sampling, take_sampling(from.sampling()));
  to.request = from.request();
  to.trace = from.trace();
  to.tenant = from.tenant();
  to.tokens = take(from.tokens());
  to.n_prompt = from.n_prompt();
  to.max_tokens = from.max_tokens();
  to.stop_token_ids = take(from.stop_token_ids());
  to.priority = from.priority();
  to.deadline_unix_ns = from.deadline_unix_ns();
  to.cache_salt = from.cache_salt();
  to.resumed = from.resumed();
  to.continuous_usage = from.continuous_usage();
  to.embed = from.embed();
  return to;
}

Result<FromRouter> take_message(const pb::FromRouter& from) {
  switch (from.kind_case()) {
    case pb::FromRouter::kWelcome:
      return FromRouter(Welcome{from.welcome().router_epoch(), from.welcome().router()});
    case pb::FromRouter::kRefused:
      return FromRouter(Refused{clean_sentence(from.refused().reason())});
    case pb::FromRouter::kHelloAgain:
      return FromRouter(HelloAgain{});
    case pb::FromRouter::kHeartbeat:
      return FromRouter(RouterHeartbeat{from.heartbeat().router_epoch()});
    case pb::FromRouter::kSubmit: {
      ASSIGN_OR_RETURN(Submit submit, take_submit(from.submit()));
      return FromRouter(std::move(submit));
    }
    case pb::FromRouter::kCancel:
      return FromRouter(Cancel{from.cancel().request()});
    case pb::FromRouter::kDrain:
      return FromRouter(Drain{});
    case pb::FromRouter::KIND_NOT_SET:
      break;
  }
  return invalid_argument("a message of an unknown kind from a router");
}

}  // namespace

std::string encode(const FromReplica& message) {
  ScratchArena arena;
  auto* encoded = arena.make<pb::FromReplica>();
  std::visit([&](const auto& kind) { put(kind, encoded); }, message);
  return encoded->SerializeAsString();
}

std::string encode(const FromRouter& message) {
  ScratchArena arena;
  auto* encoded = arena.make<pb::FromRouter>();
  std::visit([&](const auto& kind) { put(kind, encoded); }, message);
  return encoded->SerializeAsString();
}

Result<FromReplica> decode_from_replica(std::string_view bytes) {
  ASSIGN_OR_RETURN(const size_t n_updates,
                   count_nested_fields(bytes, pb::FromReplica::kTokenBatchFieldNumber,
                                       pb::TokenBatch::kUpdatesFieldNumber));
  if (n_updates > kMaxUpdatesPerBatch) {
    return resource_exhausted(
        fmt::format("{} updates in one batch; the limit is {}", n_updates, kMaxUpdatesPerBatch));
  }
  ScratchArena arena;
  auto* encoded = arena.make<pb::FromReplica>();
  TRY(parse_bytes(bytes, encoded));
  return checked(take_message(*encoded));
}

Result<FromRouter> decode_from_router(std::string_view bytes) {
  ScratchArena arena;
  auto* encoded = arena.make<pb::FromRouter>();
  TRY(parse_bytes(bytes, encoded));
  return checked(take_message(*encoded));
}

}  // namespace trireme::wire
