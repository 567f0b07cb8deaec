#include "router/api/api_error.h"

#include <string_view>

#include "router/api/json_text.h"

namespace trireme::router {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 408:
      return "timeout_error";
    case 429:
      return "rate_limit_error";
    case 500:
      return "internal_error";
    case 501:
      return "not_implemented_error";
    case 503:
      return "service_unavailable_error";
    default:
      return "invalid_request_error";
  }
}

void append_nullable(std::string& out, const std::string& text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json_string(out, text);
  }
}

}  // namespace

ApiError to_api_error(const Error& error) {
  ApiError api{500, error.message, "", "", "", 0};
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kAlreadyExists:
      api.status = 400;
      break;
    case ErrorCode::kNotFound:
      api.status = 404;
      break;
    case ErrorCode::kUnauthenticated:
      api.status = 401;
      api.code = "invalid_api_key";
      break;
    case ErrorCode::kPermissionDenied:
      api.status = 403;
      api.code = "permission_denied";
      break;
    case ErrorCode::kResourceExhausted:
      api.status = 503;
      api.code = "overloaded";
      api.retry_after_s = 1;
      break;
    case ErrorCode::kUnavailable:
      api.status = 503;
      api.code = "unavailable";
      api.retry_after_s = 1;
      break;
    case ErrorCode::kDeadlineExceeded:
      api.status = 408;
      api.code = "deadline_exceeded";
      break;
    case ErrorCode::kUnimplemented:
      api.status = 501;
      api.code = "unsupported";
      break;
    case ErrorCode::kCancelled:
      api.status = 499;
      api.code = "cancelled";
      break;
    case ErrorCode::kDataLoss:
    case ErrorCode::kInternal:
      api.code = std::string(to_string(error.code));
      break;
  }
  return api;
}

std::string error_json(const ApiError& error) {
  std::string out = R"({"error":{"message":)";
  append_json_string(out, error.message);
  out += R"(,"type":)";
  append_json_string(out, error.type.empty() ? type_of(error.status) : error.type);
  out += R"(,"param":)";
  append_nullable(out, error.param);
  out += R"(,"code":)";
  append_nullable(out, error.code);
  out += "}}";
  return out;
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response{.status = error.status, .body = error_json(error)};
  if (error.retry_after_s > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  }
  // OpenAI's clients ask again after any 5xx: what is not served now is not served a second later.
  if (error.status == 501) response.headers.emplace_back("x-should-retry", "false");
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

std::string outcome_label(const ApiError& error) {
  if (!error.code.empty()) return error.code;
  return std::string(type_of(error.status));
}

}  // namespace trireme::router
