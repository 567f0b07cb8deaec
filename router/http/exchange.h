// Exchange: one request and its response, as a handler sees it.
//
// Belongs to the loop's thread. It outlives its connection: once the client is gone, every call
// does nothing. A handler either calls respond() once, or start_stream(), any number of pending()
// and flush(), and end_stream().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "router/http/message.h"

namespace trireme::router {

class Connection;

enum class HangUp {
  kClosed,      // the client closed, or the network did
  kSlowReader,  // it did not read: more bytes wait for it than the limit
};

class Exchange {
 public:
  Exchange(Connection* connection, HttpRequest request)
      : connection_(connection), request_(std::move(request)) {}

  const HttpRequest& request() const { return request_; }
  HttpRequest& request() { return request_; }
  bool client_gone() const { return connection_ == nullptr && !finished_; }
  bool stream_started() const { return stream_started_; }

  // The whole response at once.
  void respond(HttpResponse response);

  // A response of unknown length (server-sent events). pending() gathers; flush() frames what was
  // gathered as one chunk and writes it, so that the tokens of one event batch cost one system
  // call.
  void start_stream(HttpHeaders headers);
  // Append here, and nothing else: it begins with room for the chunk's head.
  std::string& pending() {
    if (pending_.empty()) begin_pending();
    return pending_;
  }
  bool has_pending() const { return pending_.size() > kChunkHeadBytes; }
  void flush();
  void end_stream();

  // Called at most once, from the loop and never from inside respond(), flush() or end_stream().
  void set_on_hang_up(std::function<void(HangUp)> on_hang_up) {
    on_hang_up_ = std::move(on_hang_up);
  }

 private:
  friend class Connection;
  static constexpr size_t kChunkHeadBytes = 10;  // of pending_: eight hexadecimal digits, CRLF

  void begin_pending();

  Connection* connection_;  // null when the client is gone or the response is complete
  HttpRequest request_;
  std::string pending_;
  std::function<void(HangUp)> on_hang_up_;
  bool stream_started_ = false;
  bool finished_ = false;
};

}  // namespace trireme::router
