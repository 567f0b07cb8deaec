// What a request's head must be before its body is read: RFC 9112 where the parser is laxer, and
// what this server does not do.
//
// Two readings of one request are how requests are smuggled past proxies, so whatever frames or
// addresses a request twice is refused, also where the values agree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "router/http/message.h"

namespace trireme::router {

struct HeadFault {
  int status = 400;
  std::string message;
};

// Nothing: the head is good. Pure.
std::optional<HeadFault> check_head(const HttpRequest& head, bool http_1_0, int32_t max_headers);

}  // namespace trireme::router
