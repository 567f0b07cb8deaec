// HttpServer: HTTP/1.1 on one port, on the loop's thread, with every limit that an open port needs.
//
// Keep-alive and pipelining (one request of a connection at a time), chunked streams, TLS when a
// certificate is given, `Expect: 100-continue`, 413 before the body is read, bounded headers,
// bodies, connections, times and unread output. A client that hangs up is noticed at once, also
// while nothing is being written to it. Protocol: RFC 9110, RFC 9112. Boost.Beast parses; writing
// is our own, since a token is worth a few microseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "router/http/cors.h"
#include "router/http/event_loop.h"
#include "router/http/exchange.h"

namespace trireme::router {

struct HttpLimits {
  int64_t body_bytes = 8 << 20;
  int32_t header_bytes = 32 << 10;
  int32_t header_count = 100;
  int32_t connections = 4096;
  int64_t all_bodies_bytes = 256 << 20;  // held for all requests that are still arriving
  int64_t slow_reader_bytes = 1 << 20;   // of a stream's output that the client has not taken
  int64_t header_timeout_ns = 10'000'000'000;
  int64_t body_timeout_ns = 30'000'000'000;
  int64_t idle_timeout_ns = 120'000'000'000;  // between requests, and of a blocked write
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                          // 0: any free one
  std::string tls_certificate, tls_key;  // PEM paths; both or neither
  HttpLimits limits;
  CorsPolicy cors;    // whose pages may read the answers; off by default
  int n_writers = 1;  // threads that share the writes of a batch, the loop's own included
};

class HttpServer {
 public:
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  // Asked before a body is read, so that a stranger's megabytes never are: an answer ends the
  // request.
  using HeadCheck = std::function<std::optional<HttpResponse>(const HttpRequest& head)>;

  // Binds and listens. already_exists: the port is taken; invalid_argument: a bad host, certificate
  // or key.
  static Result<std::unique_ptr<HttpServer>> listen(EventLoop& loop, const Clock& clock,
                                                    const HttpServerOptions& options,
                                                    Handler handler, HeadCheck head_check = {});
  ~HttpServer();

  int port() const;  // as bound; from any thread
  int n_connections() const;
  int n_busy_connections() const;  // with an answer that is not yet wholly written
  int64_t n_slow_readers_dropped() const;

  // Between the two, streams' chunks are gathered; the second writes them, by n_writers threads,
  // and returns when that is done. To be called from the loop, outside of handlers, always as a
  // pair.
  void begin_write_batch();
  void end_write_batch();

  // Times out what is late. Call every 250 ms or so: timers are coarse on purpose.
  void tick();
  // Closes the listening port and idle connections; the others close after their response.
  void stop_accepting();

  struct Impl;

 private:
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// How many threads may write at once on the processors that this process has: two where it can.
int default_writers();

// Whether every address that `host` stands for is a loopback one.
bool is_loopback_host(const std::string& host);

}  // namespace trireme::router
