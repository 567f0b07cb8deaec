#include "router/http/request_head.h"

#include <algorithm>
#include <string_view>

namespace trireme::router {
namespace {

int64_t count(const HttpRequest& head, std::string_view name) {
  return std::count_if(head.headers.begin(), head.headers.end(),
                       [&](const auto& header) { return header.first == name; });
}

bool is(const std::string& value, std::string_view wanted) {
  return std::equal(value.begin(), value.end(), wanted.begin(), wanted.end(), [](char a, char b) {
    return ((a >= 'A' && a <= 'Z') ? static_cast<char>(a + 32) : a) == b;
  });
}

// uri-host [":" port] of RFC 3986, by its characters; empty where the target has no authority.
bool is_host(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-._~!$&'()*+;=%:[]").find(static_cast<char>(c)) !=
               std::string_view::npos;
  });
}

// The parser also takes "5, 5".
bool is_number(std::string_view value) {
  return !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
}

// RFC 9112, 3.2: whom a request is for must be said, and once.
std::optional<HeadFault> check_host(const HttpRequest& head, bool http_1_0) {
  const int64_t n = count(head, "host");
  if (n > 1) return HeadFault{400, "there is more than one Host header"};
  if (n == 0 && !http_1_0) return HeadFault{400, "an HTTP/1.1 request needs a Host header"};
  if (n == 1 && !is_host(*head.header("host"))) {
    return HeadFault{400, "the Host header is no host with or without a port"};
  }
  return std::nullopt;
}

// RFC 9112, 6.1 to 6.3: how long the body is must be said in one way.
std::optional<HeadFault> check_framing(const HttpRequest& head, bool http_1_0) {
  const int64_t n_lengths = count(head, "content-length");
  const int64_t n_codings = count(head, "transfer-encoding");
  if (n_lengths > 0 && n_codings > 0) {
    return HeadFault{400, "Content-Length and Transfer-Encoding exclude each other"};
  }
  if (n_lengths > 1) return HeadFault{400, "there is more than one Content-Length header"};
  if (n_lengths == 1 && !is_number(*head.header("content-length"))) {
    return HeadFault{400, "the Content-Length header is no number"};
  }
  if (n_codings > 1) return HeadFault{400, "there is more than one Transfer-Encoding header"};
  if (n_codings == 0) return std::nullopt;
  if (http_1_0) return HeadFault{400, "HTTP/1.0 knows no Transfer-Encoding"};
  if (!is(*head.header("transfer-encoding"), "chunked")) {
    return HeadFault{501, "no transfer coding but chunked is understood"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<HeadFault> check_head(const HttpRequest& head, bool http_1_0, int32_t max_headers) {
  if (static_cast<int64_t>(head.headers.size()) > max_headers) {
    return HeadFault{431, "there are more than " + std::to_string(max_headers) + " header fields"};
  }
  if (auto fault = check_framing(head, http_1_0)) return fault;
  if (auto fault = check_host(head, http_1_0)) return fault;
  const std::string* encoding = head.header("content-encoding");
  if (encoding != nullptr && !is(*encoding, "identity")) {
    return HeadFault{415, "compressed bodies are not accepted"};
  }
  const std::string* expect = head.header("expect");
  if (expect != nullptr && !is(*expect, "100-continue")) {
    return HeadFault{417, "no other expectation than 100-continue can be met"};
  }
  return std::nullopt;
}

}  // namespace trireme::router
