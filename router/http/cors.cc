#include "router/http/cors.h"

#include <algorithm>
#include <string_view>

namespace trireme::router {
namespace {

// Within what every browser keeps: Chromium two hours, Firefox a day.
constexpr std::string_view kMaxAgeSeconds = "600";
constexpr std::string_view kMethods = "GET, POST";
constexpr std::string_view kHeaders = "Authorization, Content-Type";
constexpr size_t kMaxAskedHeaderBytes = 2048;

// What a page's script may read besides the body: all that a client needs to wait or to complain.
constexpr std::string_view kExposed =
    "Retry-After, openai-processing-ms, x-request-id, x-ratelimit-limit-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
    "x-ratelimit-reset-requests, x-ratelimit-reset-tokens, x-should-retry";

// A list of header names, and nothing that would mean more in an answer.
bool is_name_list(const std::string& text) {
  return !text.empty() && text.size() <= kMaxAskedHeaderBytes &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == ',' || c == ' ';
         });
}

}  // namespace

CorsPolicy::CorsPolicy(std::vector<std::string> origins) : origins_(std::move(origins)) {
  any_ = std::find(origins_.begin(), origins_.end(), "*") != origins_.end();
}

bool CorsPolicy::allows(const std::string& origin) const {
  if (origin.empty()) return false;
  return any_ || std::find(origins_.begin(), origins_.end(), origin) != origins_.end();
}

void CorsPolicy::append_headers(const std::string& origin, std::string& out) const {
  if (!enabled()) return;
  // Also where the origin is missing or not allowed: a cache must not hand that answer to a page
  // that is.
  out += "Vary: Origin\r\n";
  if (!allows(origin)) return;
  out += "Access-Control-Allow-Origin: ";
  out += any_ ? "*" : origin;
  out += "\r\nAccess-Control-Expose-Headers: ";
  out += kExposed;
  out += "\r\n";
}

std::optional<HttpResponse> CorsPolicy::preflight(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  const bool asks = request.method == "OPTIONS" && origin != nullptr &&
                    request.header("access-control-request-method") != nullptr;
  if (!enabled() || !asks) return std::nullopt;
  HttpResponse response{.status = 204, .content_type = ""};
  if (!allows(*origin)) {
    response.status = 403;
    response.content_type = "application/json";
    response.body =
        R"({"error":{"message":"pages of this origin may not use the API: router.allowed_origins )"
        R"(names those that may","type":"permission_error","param":null,"code":"origin_not_allowed"}})";
    return response;
  }
  // Clients in browsers send headers of their own (x-stainless-lang and the like). None of them
  // means anything here, so whatever is asked for is allowed. "*" would leave out Authorization.
  const std::string* asked = request.header("access-control-request-headers");
  const bool named = asked != nullptr && is_name_list(*asked);
  response.headers = {
      {"Access-Control-Allow-Methods", std::string(kMethods)},
      {"Access-Control-Allow-Headers", named ? *asked : std::string(kHeaders)},
      {"Access-Control-Max-Age", std::string(kMaxAgeSeconds)},
      {"Vary", "Access-Control-Request-Headers"},
  };
  return response;
}

}  // namespace trireme::router
