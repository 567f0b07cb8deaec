#include "router/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/version.h"

namespace trireme::router {
namespace {

struct Route {
  std::string_view path;
  std::string_view method;
};

// What is served, for 404 against 405, and as the metric's bounded label.
constexpr std::array<Route, 14> kApiRoutes = {{{"/v1/chat/completions", "POST"},
                                               {"/v1/completions", "POST"},
                                               {"/v1/embeddings", "POST"},
                                               {"/v1/models", "GET"},
                                               {"/tokenize", "POST"},
                                               {"/v1/tokenize", "POST"},
                                               {"/detokenize", "POST"},
                                               {"/v1/detokenize", "POST"},
                                               {"/version", "GET"},
                                               {"/liveness", "GET"},
                                               {"/readiness", "GET"},
                                               {"/health", "GET"},
                                               {"/v1/pricing", "GET"},
                                               {"/v1/usage", "GET"}}};

// Known elsewhere in the field, and not here: a clear word is better than "no such route".
constexpr std::array<std::string_view, 3> kUnserved = {"/v1/responses", "/v1/messages",
                                                       "/v1/messages/count_tokens"};

constexpr std::string_view kApiPrefix = "/v1";
constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kExplainPrefix = "/v1/routing/explain/";

bool is_get(const std::string& method) { return method == "GET" || method == "HEAD"; }

// The client's own id where it is short and harmless; it goes into logs and over the wire.
bool is_good_trace(const std::string& trace) {
  return !trace.empty() && trace.size() <= 128 &&
         std::all_of(trace.begin(), trace.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == ':';
         });
}

std::optional<ApiError> check_content_type(const HttpRequest& request) {
  const std::string* type = request.header("content-type");
  if (type == nullptr || type->empty()) return std::nullopt;
  std::string media = type->substr(0, type->find(';'));
  while (!media.empty() && media.back() == ' ') media.pop_back();
  std::transform(media.begin(), media.end(), media.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (media == "application/json" || media.ends_with("+json") || media == "text/json") {
    return std::nullopt;
  }
  return ApiError{415,
                  "Content-Type must be application/json; it is " + media.substr(0, 80),
                  "",
                  "",
                  "unsupported_media_type",
                  0};
}

bool is_api_route(std::string_view path) {
  return std::any_of(kApiRoutes.begin(), kApiRoutes.end(),
                     [&](const Route& route) { return route.path == path; });
}

// A base URL without /v1, or with it twice, and a slash too many are the usual mistakes.
ApiError no_api_route(std::string_view path) {
  std::string plain;
  for (const char c : path) {
    if (c != '/' || !plain.ends_with('/')) plain += c;
  }
  if (plain.ends_with('/')) plain.pop_back();
  while (plain.starts_with("/v1/v1/")) plain.erase(0, kApiPrefix.size());
  std::string message = "there is no such route";
  if (plain.empty() || plain == kApiPrefix) {
    message += "; begin with GET /v1/models or POST /v1/chat/completions";
  } else if (is_api_route(plain)) {
    message += "; did you mean " + plain + "?";
  } else if (is_api_route(std::string(kApiPrefix) + plain)) {
    message += fmt::format("; did you mean {}{}?", kApiPrefix, plain);
  } else if (plain == "/metrics") {
    message += "; metrics are on the admin port";
  }
  return {404, std::move(message), "", "", "not_found", 0};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// "org%2Fmodel" is "org/model"; what is no escape stays as it is.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high >= 0 && low >= 0) {
        out += static_cast<char>(high * 16 + low);
        i += 2;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

// A preflight that CORS, being off, knows nothing of: the developer of the page will look at it.
bool is_from_a_page(const HttpRequest& request) {
  return request.method == "OPTIONS" && request.header("origin") != nullptr;
}

HttpResponse wrong_method(std::string_view allowed, std::string_view more = "") {
  HttpResponse response = error_response({405, fmt::format("this route takes {}{}", allowed, more),
                                          "invalid_request_error", "", "method_not_allowed", 0});
  response.headers.emplace_back("Allow", std::string(allowed));
  return response;
}

}  // namespace

Routes::Caller Routes::identify(const HttpRequest& request) {
  Caller caller;
  const std::string* given = request.header("x-request-id");
  caller.trace = given != nullptr && is_good_trace(*given)
                     ? *given
                     : fmt::format("req-{:016x}", serving_.random.next());
  if (serving_.keys.empty()) {
    caller.key = &serving_.anonymous;
    return caller;
  }
  const std::string* authorization = request.header("authorization");
  const std::string_view token =
      authorization == nullptr ? std::string_view() : bearer_token(*authorization);
  if (!token.empty()) caller.key = serving_.keys.find(token);
  return caller;
}

void Routes::reply(const std::shared_ptr<Exchange>& exchange, const std::string& route,
                   const Caller& caller, HttpResponse response) {
  response.headers.emplace_back("x-request-id", caller.trace);
  serving_.metrics.count_http(route, response.status);
  exchange->respond(std::move(response));
}

HttpResponse Routes::refuse_stranger() {
  serving_.metrics.count_rejected("key");
  serving_.metrics.count_http("unauthenticated", 401);
  return error_response({401, "a known API key is needed: Authorization: Bearer <key>", "", "",
                         "invalid_api_key", 0});
}

std::optional<HttpResponse> Routes::check_api_head(const HttpRequest& request) {
  if (identify(request).key != nullptr) return std::nullopt;
  return refuse_stranger();
}

void Routes::handle_api(const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  const Caller caller = identify(request);
  const std::string& path = request.path;
  const auto answer = [&](const std::string& route, HttpResponse response) {
    reply(exchange, route, caller, std::move(response));
  };
  if (auto asked = cors_.preflight(request)) return answer("preflight", std::move(*asked));
  if (path == "/liveness" && is_get(request.method)) {
    return answer(path, {.body = R"({"status":"ok"})"});
  }
  // Probes have no key: without one they learn yes or no, and nothing of the cluster.
  if ((path == "/readiness" || path == "/health") && is_get(request.method)) {
    return answer(path, health(caller.key != nullptr));
  }
  if (caller.key == nullptr) return exchange->respond(refuse_stranger());
  if (path.starts_with(kModelPrefix)) {
    if (!is_get(request.method)) return answer("/v1/models", wrong_method("GET"));
    return answer("/v1/models", model(percent_decoded(path.substr(kModelPrefix.size()))));
  }
  const auto route = std::find_if(kApiRoutes.begin(), kApiRoutes.end(),
                                  [&](const Route& r) { return r.path == path; });
  if (route == kApiRoutes.end()) {
    if (std::find(kUnserved.begin(), kUnserved.end(), path) != kUnserved.end()) {
      return answer("unserved", error_response(not_implemented(path + " is not served")));
    }
    return answer("unknown", error_response(no_api_route(path)));
  }
  const bool allowed =
      route->method == "GET" ? is_get(request.method) : request.method == route->method;
  if (!allowed && !cors_.enabled() && is_from_a_page(request)) {
    return answer(path, wrong_method(route->method,
                                     "; pages in a browser may use the API where "
                                     "router.allowed_origins names their origin"));
  }
  if (!allowed) return answer(path, wrong_method(route->method));
  if (route->method == "POST") {
    if (const auto error = check_content_type(request)) return answer(path, error_response(*error));
  }
  if (path == "/v1/chat/completions") return generate(exchange, CallKind::kChat, caller);
  if (path == "/v1/completions") return generate(exchange, CallKind::kCompletion, caller);
  if (path == "/v1/embeddings") return generate(exchange, CallKind::kEmbedding, caller);
  if (path == "/v1/models") return answer(path, models());
  if (path == "/tokenize" || path == "/v1/tokenize") return answer(path, tokenize(request));
  if (path == "/detokenize" || path == "/v1/detokenize") return answer(path, detokenize(request));
  if (path == "/version") {
    return answer(path, {.body = fmt::format(R"({{"version":"{}"}})", kVersion)});
  }
  if (path == "/v1/pricing") return answer(path, pricing());
  answer(path, usage(*caller.key));
}

void Routes::handle_admin(const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  const Caller caller = identify(request);
  const std::string& path = request.path;
  const auto answer = [&](const std::string& route, HttpResponse response) {
    reply(exchange, "admin " + route, caller, std::move(response));
  };
  if (!is_get(request.method)) return answer("unknown", wrong_method("GET"));
  if (path == "/liveness") return answer(path, {.body = R"({"status":"ok"})"});
  if (path == "/readiness" || path == "/health") return answer(path, health(caller.key != nullptr));
  if (caller.key == nullptr) {
    return answer("unauthenticated",
                  error_response({401, "an admin key is needed: Authorization: Bearer <key>", "",
                                  "", "invalid_api_key", 0}));
  }
  if (!serving_.keys.empty() && !caller.key->admin) {
    return answer("forbidden", error_response({403, "this key is no admin key", "", "",
                                               "permission_denied", 0}));
  }
  if (path == "/metrics") {
    return answer(path, {.content_type = "text/plain; version=0.0.4; charset=utf-8",
                         .body = registry_.serialize()});
  }
  if (path.starts_with(kExplainPrefix)) {
    return answer("/v1/routing/explain", explain(path.substr(kExplainPrefix.size())));
  }
  if (path == "/v1/pricing") return answer(path, pricing());
  if (path == "/v1/usage") return answer(path, usage(*caller.key));
  answer("unknown", error_response({404, "there is no such admin route", "", "", "not_found", 0}));
}

void Routes::generate(const std::shared_ptr<Exchange>& exchange, CallKind kind,
                      const Caller& caller) {
  auto call = std::make_shared<GenerationCall>(serving_, exchange, kind, *caller.key, caller.trace);
  call->begin();
}

}  // namespace trireme::router
