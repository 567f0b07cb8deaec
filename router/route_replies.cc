// The short answers of Routes: models, tokens, health, money, explanations.
#include <fmt/format.h>

#include "base/json.h"
#include "router/api/json_text.h"
#include "router/api/logprob_text.h"
#include "router/api/prepare.h"
#include "router/api/response.h"
#include "router/routes.h"

namespace trireme::router {
namespace {

HttpResponse json_response(const Json& json, int status = 200) {
  return {.status = status, .body = json.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

Json model_json(const Serving& serving) {
  return {{"id", serving.model.name},
          {"object", "model"},
          {"created", serving.model.created_s},
          {"owned_by", "trireme"},
          {"max_model_len", serving.context()}};
}

std::optional<ApiError> check_model(const Serving& serving, const std::string& name) {
  if (name.empty() || name == serving.model.name) return std::nullopt;
  return ApiError{404,
                  "the model is not served here; GET /v1/models lists what is",
                  "",
                  "model",
                  "model_not_found",
                  0};
}

// Exact decimal text of nano-dollars, as a JSON number.
Json usd(int64_t nano_usd) {
  std::string text;
  append_nano_usd(text, nano_usd);
  return Json::parse(text);
}

Json ledger_json(const wire::LedgerReport& ledger) {
  return {{"total", ledger.total_nano_usd},     {"prefill", ledger.prefill_nano_usd},
          {"decode", ledger.decode_nano_usd},   {"idle", ledger.idle_nano_usd},
          {"startup", ledger.startup_nano_usd}, {"recompute", ledger.recompute_nano_usd},
          {"resume", ledger.resume_nano_usd}};
}

// $ per million tokens of one phase. Nano-dollars per token x 10^6 tokens = milli-dollars; null
// before the first token.
Json per_million(int64_t nano_usd, int64_t tokens, double share_of_total) {
  if (tokens <= 0) return nullptr;
  return static_cast<double>(nano_usd) * share_of_total / static_cast<double>(tokens) * 1e-3;
}

}  // namespace

HttpResponse Routes::models() const {
  return json_response({{"object", "list"}, {"data", Json::array({model_json(serving_)})}});
}

HttpResponse Routes::model(const std::string& name) const {
  if (name != serving_.model.name) return error_response(*check_model(serving_, name + "?"));
  return json_response(model_json(serving_));
}

HttpResponse Routes::tokenize(const HttpRequest& http) const {
  const RequestBounds bounds{serving_.config.limits, serving_.model.vocab, serving_.context()};
  TokenizeRequest request;
  if (const auto error = parse_tokenize_request(http.body, bounds, &request)) {
    return error_response(*error);
  }
  if (const auto error = check_model(serving_, request.model)) return error_response(*error);
  std::vector<int32_t> ids;
  request.chat.add_special_tokens = request.add_special_tokens;
  const int64_t now_s = serving_.clock.unix_ns() / kSecondNs;
  const auto error = request.prompt ? encode_text(serving_.model, *request.prompt,
                                                  request.add_special_tokens, &ids)
                                    : encode_chat(serving_.model, request.chat, now_s, &ids);
  if (error) return error_response(*error);
  std::string body =
      fmt::format(R"({{"count":{},"max_model_len":{},"tokens":)", ids.size(), serving_.context());
  body += ids_json(ids.data(), ids.size());
  body += R"(,"token_strs":)";
  if (request.return_token_strs) {
    const TokenNames names(&*serving_.model.tokenizer, false);
    for (size_t i = 0; i < ids.size(); ++i) {
      body += i == 0 ? "[" : ",";
      append_json_string(body, names.name(ids[i]));
    }
    body += ids.empty() ? "[]" : "]";
  } else {
    body += "null";
  }
  body += '}';
  return {.body = std::move(body)};
}

HttpResponse Routes::detokenize(const HttpRequest& http) const {
  const RequestBounds bounds{serving_.config.limits, serving_.model.vocab, serving_.context()};
  DetokenizeRequest request;
  if (const auto error = parse_detokenize_request(http.body, bounds, &request)) {
    return error_response(*error);
  }
  if (const auto error = check_model(serving_, request.model)) return error_response(*error);
  if (!serving_.model.tokenizer) {
    return error_response(bad_request("this model has no tokenizer", "tokens"));
  }
  std::string body = R"({"prompt":)";
  append_json_string(body,
                     serving_.model.tokenizer->decode(request.tokens, request.skip_special_tokens));
  body += '}';
  return {.body = std::move(body)};
}

HttpResponse Routes::health(bool with_details) const {
  const Upstream& upstream = *serving_.upstream;
  const int n_ready = upstream.n_ready_replicas();
  const bool ready = n_ready > 0 && !serving_.draining;
  Json json = {{"status", ready ? "ok" : serving_.draining ? "draining" : "no replica is ready"}};
  if (with_details) {
    int64_t running = 0;
    int64_t waiting = 0;
    int64_t n_draining = 0;
    for (const Replica* replica : upstream.replicas().all()) {
      running += replica->load.running;
      waiting += replica->load.waiting;
      n_draining += replica->load.draining ? 1 : 0;
    }
    json["replicas"] = {{"known", upstream.replicas().size()},
                        {"ready", n_ready},
                        {"draining", n_draining},
                        {"running", running},
                        {"waiting", waiting}};
    json["queued"] = upstream.n_queued();
  }
  return json_response(json, ready ? 200 : 503);
}

HttpResponse Routes::pricing() const {
  const PriceConfig& price = serving_.config.price;
  const wire::LedgerReport sum = serving_.upstream->replicas().ledger().sum;
  // Realised: everything that was paid, idle and start-up included, borne by the phases in
  // proportion to their work.
  const int64_t work = sum.prefill_nano_usd + sum.decode_nano_usd;
  const double share =
      work > 0 ? static_cast<double>(sum.total_nano_usd) / static_cast<double>(work) : 1;
  Json replicas = Json::array();
  for (const Replica* replica : serving_.upstream->replicas().all()) {
    const wire::LedgerReport* ledger =
        serving_.upstream->replicas().ledger_of(replica->hello.replica);
    replicas.push_back(
        {{"replica", replica->hello.replica},
         {"plan", replica->hello.plan},
         {"devices", replica->hello.n_devices},
         {"ledger_nano_usd", ledger_json(ledger != nullptr ? *ledger : wire::LedgerReport{})}});
  }
  return json_response(
      {{"object", "pricing"},
       {"model", serving_.model.name},
       {"currency", "USD"},
       {"usd_per_device_hour", price.usd_per_device_hour},
       {"list_usd_per_million",
        {{"input", price.list_usd_per_million_input},
         {"cached_input", price.list_usd_per_million_cached_input},
         {"output", price.list_usd_per_million_output}}},
       {"measured_usd_per_million",
        {{"realised",
          {{"input", per_million(sum.prefill_nano_usd, sum.prompt_tokens, share)},
           {"output", per_million(sum.decode_nano_usd, sum.generated_tokens, share)}}},
         {"floor",
          {{"input", per_million(sum.prefill_nano_usd, sum.prompt_tokens, 1)},
           {"output", per_million(sum.decode_nano_usd, sum.generated_tokens, 1)}}}}},
       {"tokens",
        {{"prompt_computed", sum.prompt_tokens},
         {"prompt_cached", sum.cached_tokens},
         {"generated", sum.generated_tokens}}},
       {"ledger_nano_usd", ledger_json(sum)},
       {"replicas", replicas}});
}

HttpResponse Routes::usage(const KeyConfig& key) const {
  Json tenants = Json::array();
  const bool all = serving_.keys.empty() || key.admin;
  for (const auto& [tenant, used] : serving_.usage) {
    if (!all && tenant != key.name) continue;
    tenants.push_back(
        {{"tenant", tenant},
         {"requests", used.requests},
         {"prompt_tokens", used.prompt_tokens},
         {"cached_tokens", used.cached_tokens},
         {"completion_tokens", used.completion_tokens},
         {"cost", {{"usd", usd(used.cost_nano_usd)}, {"nano_usd", used.cost_nano_usd}}}});
  }
  Json json = {{"object", "usage"},
               {"model", serving_.model.name},
               {"since", serving_.started_unix_ns / kSecondNs},
               {"tenants", tenants}};
  if (all) json["ledger_nano_usd"] = ledger_json(serving_.upstream->replicas().ledger().sum);
  return json_response(json);
}

HttpResponse Routes::explain(const std::string& trace) const {
  const auto records = serving_.upstream->explain().find(trace);
  if (records.empty()) {
    return error_response(
        {404, "nothing is known of this request id (any more)", "", "", "not_found", 0});
  }
  Json attempts = Json::array();
  for (const ExplainRecord* record : records) {
    Json candidates = Json::array();
    for (const ExplainCandidate& c : record->candidates) {
      candidates.push_back({{"replica", c.replica},
                            {"usable", c.usable},
                            {"why_not", c.why_not.empty() ? Json(nullptr) : Json(c.why_not)},
                            {"load", c.load},
                            {"matched_tokens", c.matched_tokens},
                            {"score", c.score}});
    }
    attempts.push_back({{"sequence", record->job},
                        {"unix_ms", record->unix_ns / kMillisecondNs},
                        {"reason", record->reason},
                        {"chosen", record->chosen},
                        {"prompt_tokens", record->prompt_tokens},
                        {"emitted_tokens", record->emitted_tokens},
                        {"waited_ms", static_cast<double>(record->waited_ns) * 1e-6},
                        {"candidates", candidates}});
  }
  return json_response({{"id", trace},
                        {"score", "matched / prompt - beta * (load - mean) / max(1, mean)"},
                        {"beta", serving_.config.router.balance_load_weight},
                        {"attempts", attempts}});
}

}  // namespace trireme::router
