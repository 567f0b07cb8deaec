// Connection: the state machine of one client connection. For router/http alone.
//
//   handshake -> idle -> header -> body -> responding -> idle ...            (keep-alive)
//                                              `-> linger -> closed          (Connection: close, or
//                                              an error)
//
// One request at a time is handed out, as an Exchange; bytes of the next ones wait in `in_` up to a
// bound. A read is outstanding in every phase, so that a hang-up is seen at once. Lingering reads
// and drops what a client still sends, so that an early answer (413) is not destroyed by a TCP
// reset.
//
// A stream's chunk goes straight from the buffer that it was gathered in to the socket; `out_`
// holds what the socket did not take. While a batch of writes is gathered (begin_write_batch) the
// chunk waits for the batch's end, and what else is written meanwhile waits behind it.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "router/http/exchange.h"
#include "router/http/server.h"
#include "router/http/spare_buffers.h"
#include "router/http/transport.h"

namespace trireme::router {

// One chunk that waits for the end of a batch.
struct GatheredWrite {
  std::shared_ptr<Connection> connection;
  std::string buffer;
  size_t begin = 0;  // of the chunk in it
};

// What all connections of a server share.
struct ConnectionContext {
  const Clock& clock;
  HttpLimits limits;
  CorsPolicy cors;
  HttpServer::Handler handler;
  HttpServer::HeadCheck head_check;
  std::function<void(std::function<void()>)> post;
  std::function<void(Connection*)> on_closed;
  bool draining = false;
  int64_t body_bytes_held = 0;  // of requests that are still arriving
  SpareBuffers spare;
  bool gathering = false;  // a batch of writes
  std::vector<GatheredWrite> gathered;
  int64_t n_slow_readers = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ConnectionContext> context, std::unique_ptr<Transport> transport);
  ~Connection();

  void start();
  void tick(int64_t now_ns);
  void close_if_idle();
  // A request is being answered, or bytes of an answer are still to be written.
  bool busy() const { return phase_ == Phase::kResponding || !out_.empty(); }
  void close();

  // Of the current exchange.
  void respond(Exchange& exchange, const HttpResponse& response);
  void start_stream(Exchange& exchange, const HttpHeaders& headers);
  void flush_stream(Exchange& exchange);
  void end_stream(Exchange& exchange);
  std::string take_buffer() { return context_->spare.take(); }
  // A gathered chunk: where it is to be written (-1: nowhere any more), and what became of it.
  int gathered_fd() const { return phase_ == Phase::kClosed ? -1 : transport_->plain_fd(); }
  void on_gathered_written(std::string_view bytes, IoResult put);

 private:
  enum class Phase { kHandshake, kIdle, kHeader, kBody, kResponding, kLinger, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void wait_readable();
  void on_readable(bool ok);
  void on_end();
  void parse();
  bool on_header();                    // false: an error was answered
  bool refuse(HttpResponse response);  // answers and closes; false, for on_header to return
  void read_head();
  void note_origin();
  bool hold_body(int64_t n_bytes);
  void on_request();
  void fail_parse(const boost::system::error_code& ec);
  void fail_request(int status, const std::string& message);
  void append_head(int status, const std::string& content_type, const HttpHeaders& headers);
  void finish_response();
  size_t frame_chunk(std::string& pending) const;
  void write(std::string& buffer, size_t begin);
  void on_written(std::string_view bytes, IoResult put);
  void pump();  // writes what can be written now
  void check_slow_reader();
  void hang_up(HangUp reason);
  void linger();
  void set_phase(Phase phase, int64_t timeout_ns);

  std::shared_ptr<ConnectionContext> context_;
  std::unique_ptr<Transport> transport_;
  Phase phase_ = Phase::kHandshake;
  int64_t phase_deadline_ns_ = 0;  // 0: none
  std::string in_;                 // bytes read and not yet parsed
  std::optional<Parser> parser_;
  HttpRequest request_;  // of which the head has been read
  std::string origin_;   // the page behind it, where CORS is on
  int64_t body_bytes_held_ = 0;
  std::shared_ptr<Exchange> exchange_;
  std::string out_;  // bytes to write, from out_begin_
  size_t out_begin_ = 0;
  int64_t write_blocked_since_ns_ = 0;
  int64_t n_lingered_bytes_ = 0;
  bool waiting_readable_ = false;
  bool waiting_writable_ = false;
  bool gathered_ = false;  // a chunk of ours waits for the batch's end
  bool keep_alive_ = true;
  bool http_1_0_ = false;
  bool head_request_ = false;
  bool close_after_write_ = false;
};

}  // namespace trireme::router
