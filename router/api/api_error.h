// ApiError: what a client is told, in the shape that OpenAI clients read.
//
// {"error":{"message","type","param","code"}}: `code` is a word or null, the number stands in the
// status line alone. A message is one sentence with no address, path or stack of ours.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "router/http/message.h"

namespace trireme::router {

struct ApiError {
  int status = 500;
  std::string message;
  std::string type;           // empty: by the status
  std::string param;          // the field that is wrong, or empty
  std::string code;           // "context_length_exceeded" ..., or empty
  int64_t retry_after_s = 0;  // 0: no Retry-After
};

inline ApiError bad_request(std::string message, std::string param = "", std::string code = "") {
  return {400, std::move(message), "", std::move(param), std::move(code), 0};
}
inline ApiError not_implemented(std::string message, std::string param = "") {
  return {501, std::move(message), "", std::move(param), "unsupported", 0};
}

// From an Error of ours: 429 never comes from here, since a tenant's limit is the admission's word.
ApiError to_api_error(const Error& error);

// The bare object {"error":{...}}.
std::string error_json(const ApiError& error);
HttpResponse error_response(const ApiError& error);

// The `outcome` label of requests_total: a bounded set of words.
std::string outcome_label(const ApiError& error);

}  // namespace trireme::router
