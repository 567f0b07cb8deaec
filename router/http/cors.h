// CorsPolicy: which web pages may use the API from a browser (cross-origin resource sharing).
//
// It protects the browser's user and nobody else: a client that is no browser sends what Origin it
// likes, and whether a request is served is decided by its key. Cookies are never asked for, so
// credentials stay off and "*" is safe to answer with. Protocol: https://fetch.spec.whatwg.org
// #http-cors-protocol. Immutable.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "router/http/message.h"

namespace trireme::router {

class CorsPolicy {
 public:
  CorsPolicy() = default;  // off: no header is added, and no preflight known
  // Origins as browsers send them, or "*" for every one; checked before (ClusterConfig).
  explicit CorsPolicy(std::vector<std::string> origins);

  bool enabled() const { return any_ || !origins_.empty(); }
  bool allows(const std::string& origin) const;

  // The header lines that every answer carries, errors and streams too. `origin` is the request's;
  // empty: it named none.
  void append_headers(const std::string& origin, std::string& out) const;

  // A browser's question whether a page may send what it wants to, answered without a key, since it
  // sends none with it: 204, or 403 for a page that is not allowed. Nothing: this is no preflight.
  std::optional<HttpResponse> preflight(const HttpRequest& request) const;

 private:
  bool any_ = false;
  std::vector<std::string> origins_;
};

}  // namespace trireme::router
