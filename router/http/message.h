// A request and a response as plain data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme::router {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // "GET", as sent
  std::string path;     // the target before '?', as sent
  std::string query;    // after '?'
  HttpHeaders headers;  // names in lower case
  std::string body;
  int64_t received_ns = 0;  // of the server's clock, when the last byte of the request was read

  // The first header of this (lower-case) name, or null.
  const std::string* header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;  // besides content type, length, date and connection
  std::string body;
};

// "Not Found" for 404; "Unknown" for a status that we never send.
std::string_view status_text(int status);

}  // namespace trireme::router
