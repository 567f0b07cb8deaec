// Routes: which handler answers a request, and the short ones themselves.
//
// Authenticates, names the request (x-request-id), counts it. Generation goes to GenerationCall.
// Belongs to the loop's thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "router/generation.h"
#include "router/http/cors.h"
#include "router/http/exchange.h"
#include "router/serving.h"

namespace trireme::router {

class Routes {
 public:
  Routes(Serving& serving, const MetricsRegistry& registry)
      : serving_(serving), registry_(registry), cors_(serving.config.router.allowed_origins) {}

  // Before a body is read: strangers are turned away.
  std::optional<HttpResponse> check_api_head(const HttpRequest& request);
  void handle_api(const std::shared_ptr<Exchange>& exchange);
  void handle_admin(const std::shared_ptr<Exchange>& exchange);

 private:
  struct Caller {
    const KeyConfig* key = nullptr;  // null: unknown
    std::string trace;
  };

  HttpResponse refuse_stranger();
  Caller identify(const HttpRequest& request);
  void reply(const std::shared_ptr<Exchange>& exchange, const std::string& route,
             const Caller& caller, HttpResponse response);
  void generate(const std::shared_ptr<Exchange>& exchange, CallKind kind, const Caller& caller);

  HttpResponse models() const;
  HttpResponse model(const std::string& name) const;
  HttpResponse tokenize(const HttpRequest& request) const;
  HttpResponse detokenize(const HttpRequest& request) const;
  HttpResponse health(bool with_details) const;
  HttpResponse pricing() const;
  HttpResponse usage(const KeyConfig& key) const;
  HttpResponse explain(const std::string& trace) const;

  Serving& serving_;
  const MetricsRegistry& registry_;
  const CorsPolicy cors_;  // of the API
};

}  // namespace trireme::router
