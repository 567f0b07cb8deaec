#include "router/http/connection.h"

#include <array>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <ctime>

#include "router/http/request_head.h"

namespace trireme::router {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kMaxPipelinedBytes = 64 << 10;  // read ahead while a response is being made
constexpr int64_t kLingerNs = 5'000'000'000;
constexpr int64_t kMaxLingerBytes = 512 << 20;
constexpr size_t kMaxKeptBufferBytes = 64 << 10;  // capacity that an idle connection keeps

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = (c >= 'A' && c <= 'Z') ? static_cast<char>(c + 32) : c;
  return out;
}

void append_date(std::string& out, int64_t unix_ns) {
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  std::array<char, 64> text;
  out.append(text.data(),
             std::strftime(text.data(), text.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm));
}

std::string error_body(const std::string& message, std::string_view type) {
  // The sentences are ours and need no escaping.
  return R"({"error":{"message":")" + message + R"(","type":")" + std::string(type) +
         R"(","param":null,"code":null}})";
}

}  // namespace

std::string_view status_text(int status) {
  return http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
}

// ---- Exchange ----

void Exchange::respond(HttpResponse response) {
  if (connection_ != nullptr) connection_->respond(*this, response);
}

void Exchange::start_stream(HttpHeaders headers) {
  if (connection_ != nullptr) connection_->start_stream(*this, headers);
}

void Exchange::begin_pending() {
  if (connection_ != nullptr) pending_ = connection_->take_buffer();
  pending_.resize(kChunkHeadBytes);
}

void Exchange::flush() {
  if (connection_ != nullptr) {
    connection_->flush_stream(*this);
  } else {
    pending_.clear();
  }
}

void Exchange::end_stream() {
  if (connection_ != nullptr) connection_->end_stream(*this);
}

// ---- Connection ----

Connection::Connection(std::shared_ptr<ConnectionContext> context,
                       std::unique_ptr<Transport> transport)
    : context_(std::move(context)), transport_(std::move(transport)) {}

Connection::~Connection() {
  (void)hold_body(0);
  if (exchange_) exchange_->connection_ = nullptr;
}

void Connection::set_phase(Phase phase, int64_t timeout_ns) {
  phase_ = phase;
  phase_deadline_ns_ = timeout_ns == 0 ? 0 : context_->clock.now_ns() + timeout_ns;
}

void Connection::start() {
  set_phase(Phase::kHandshake, context_->limits.header_timeout_ns);
  transport_->handshake([self = shared_from_this()](bool ok) {
    if (self->phase_ != Phase::kHandshake) return;
    if (!ok) return self->close();
    // A fresh connection owes us a request: the header's clock runs from its first moment.
    self->set_phase(Phase::kIdle, self->context_->limits.header_timeout_ns);
    self->wait_readable();
  });
}

void Connection::wait_readable() {
  if (waiting_readable_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kResponding && in_.size() > kMaxPipelinedBytes) return;
  waiting_readable_ = true;
  transport_->wait_readable([self = shared_from_this()](bool ok) {
    self->waiting_readable_ = false;
    self->on_readable(ok);
  });
}

void Connection::on_readable(bool ok) {
  if (phase_ == Phase::kClosed) return;
  if (!ok) return on_end();
  std::array<char, kReadBytes> bytes;
  const IoResult got = transport_->read_now(bytes.data(), bytes.size());
  switch (got.state) {
    case IoState::kWouldBlock:
      return wait_readable();
    case IoState::kEnd:
    case IoState::kError:
      return on_end();
    case IoState::kOk:
      break;
  }
  if (phase_ == Phase::kLinger) {
    n_lingered_bytes_ += static_cast<int64_t>(got.n_bytes);
    if (n_lingered_bytes_ > kMaxLingerBytes) return close();
    return wait_readable();
  }
  in_.append(bytes.data(), got.n_bytes);
  if (phase_ != Phase::kResponding) parse();
  wait_readable();
}

void Connection::on_end() {
  if (phase_ == Phase::kResponding) return hang_up(HangUp::kClosed);
  close();
}

void Connection::parse() {
  while (!in_.empty() &&
         (phase_ == Phase::kIdle || phase_ == Phase::kHeader || phase_ == Phase::kBody)) {
    if (phase_ == Phase::kIdle) {
      // Blank lines between requests are tolerated, as RFC 9112 section 2.2 advises.
      const size_t blank = in_.find_first_not_of("\r\n");
      in_.erase(0, blank == std::string::npos ? in_.size() : blank);
      if (in_.empty()) return;
      origin_.clear();
      parser_.emplace();
      parser_->header_limit(static_cast<uint32_t>(context_->limits.header_bytes));
      parser_->body_limit(static_cast<uint64_t>(context_->limits.body_bytes));
      set_phase(Phase::kHeader, context_->limits.header_timeout_ns);
    }
    error_code ec;
    const size_t n = parser_->put(boost::asio::buffer(in_), ec);
    in_.erase(0, n);
    if (ec == http::error::need_more) return;
    if (ec) return fail_parse(ec);
    if (phase_ == Phase::kHeader && parser_->is_header_done() && !on_header()) return;
    if (parser_->is_done()) return on_request();
    if (phase_ == Phase::kBody && !hold_body(static_cast<int64_t>(parser_->get().body().size()))) {
      return fail_request(503, "too many bytes of requests are arriving at once");
    }
  }
}

void Connection::fail_parse(const error_code& ec) {
  note_origin();  // a head may fail as a whole
  const HttpLimits& limits = context_->limits;
  if (ec == http::error::body_limit) {
    return fail_request(413,
                        "the body is larger than " + std::to_string(limits.body_bytes) + " bytes");
  }
  if (ec == http::error::header_limit) {
    return fail_request(
        431, "the header is larger than " + std::to_string(limits.header_bytes) + " bytes");
  }
  if (ec == http::error::bad_version) {
    return fail_request(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  }
  fail_request(400, "the request is not valid HTTP");
}

void Connection::note_origin() {
  if (!context_->cors.enabled()) return;
  const auto origin = parser_->get()[http::field::origin];
  origin_.assign(origin.data(), origin.size());
}

bool Connection::on_header() {
  const auto& message = parser_->get();
  http_1_0_ = message.version() < 11;
  head_request_ = message.method() == http::verb::head;
  keep_alive_ = message.keep_alive();
  read_head();
  if (const auto fault = check_head(request_, http_1_0_, context_->limits.header_count)) {
    fail_request(fault->status, fault->message);
    return false;
  }
  if (!parser_->is_done()) {
    if (context_->head_check) {
      if (auto answer = context_->head_check(request_)) return refuse(std::move(*answer));
    }
    if (request_.header("expect") != nullptr && !http_1_0_) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      pump();
      if (phase_ == Phase::kClosed) return false;
    }
  }
  parser_->eager(true);
  set_phase(Phase::kBody, context_->limits.body_timeout_ns);
  return true;
}

void Connection::read_head() {
  const auto& message = parser_->get();
  request_ = {};
  request_.method.assign(message.method_string().data(), message.method_string().size());
  std::string_view target(message.target().data(), message.target().size());
  if (lower(target.substr(0, 7)) == "http://") {  // as proxies' clients write it: RFC 9112, 3.2.2
    const size_t path = target.find('/', 7);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  const size_t question = target.find('?');
  request_.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) request_.query = std::string(target.substr(question + 1));
  for (const auto& field : message) {
    request_.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                  std::string(field.value().data(), field.value().size()));
  }
  note_origin();
}

// Books the bytes of this connection's body; false where all bodies together are too many.
bool Connection::hold_body(int64_t n_bytes) {
  context_->body_bytes_held += n_bytes - std::exchange(body_bytes_held_, n_bytes);
  return context_->body_bytes_held <= context_->limits.all_bodies_bytes;
}

void Connection::on_request() {
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  (void)hold_body(0);
  request_.received_ns = context_->clock.now_ns();
  set_phase(Phase::kResponding, 0);
  exchange_ = std::make_shared<Exchange>(this, std::exchange(request_, {}));
  context_->handler(exchange_);
}

bool Connection::refuse(HttpResponse response) {
  keep_alive_ = false;
  (void)hold_body(0);
  set_phase(Phase::kResponding, 0);
  parser_.reset();
  in_.clear();
  exchange_ = std::make_shared<Exchange>(this, HttpRequest{});
  respond(*exchange_, response);
  return false;
}

void Connection::fail_request(int status, const std::string& message) {
  const std::string type = status == 408 ? "timeout_error" : "invalid_request_error";
  (void)refuse({.status = status, .body = error_body(message, type)});
}

void Connection::append_head(int status, const std::string& content_type,
                             const HttpHeaders& headers) {
  if (context_->draining) keep_alive_ = false;
  out_ += "HTTP/1.1 ";
  out_ += std::to_string(status);
  out_ += ' ';
  out_ += status_text(status);
  out_ += "\r\nServer: trireme\r\n";
  append_date(out_, context_->clock.unix_ns());
  if (!content_type.empty()) out_ += "Content-Type: " + content_type + "\r\n";
  for (const auto& [name, value] : headers) out_ += name + ": " + value + "\r\n";
  context_->cors.append_headers(origin_, out_);
  if (!keep_alive_) {
    out_ += "Connection: close\r\n";
  } else if (http_1_0_) {
    out_ += "Connection: keep-alive\r\n";
  }
}

void Connection::respond(Exchange& exchange, const HttpResponse& response) {
  CHECK(!exchange.stream_started_ && !exchange.finished_);
  append_head(response.status, response.content_type, response.headers);
  // A 204 has no body, and so no length: RFC 9110, 8.6.
  if (response.status != 204) {
    out_ += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  out_ += "\r\n";
  if (!head_request_) out_ += response.body;
  finish_response();
}

void Connection::start_stream(Exchange& exchange, const HttpHeaders& headers) {
  CHECK(!exchange.stream_started_ && !exchange.finished_);
  exchange.stream_started_ = true;
  if (http_1_0_) keep_alive_ = false;  // no chunks there: the end of the connection ends the body
  append_head(200, "text/event-stream; charset=utf-8", headers);
  out_ += "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  out_ += http_1_0_ ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n";
}

// Puts a chunk's head before and its end behind the gathered events, in place. Returns where it
// begins.
size_t Connection::frame_chunk(std::string& pending) const {
  size_t begin = Exchange::kChunkHeadBytes;
  if (http_1_0_) return begin;
  size_t n_left = pending.size() - begin;
  pending += "\r\n";
  pending[--begin] = '\n';
  pending[--begin] = '\r';
  for (; n_left > 0; n_left >>= 4) {
    CHECK_GT(begin, 0U) << "a chunk of 4 GiB";
    pending[--begin] = "0123456789abcdef"[n_left & 15];
  }
  return begin;
}

void Connection::flush_stream(Exchange& exchange) {
  CHECK(exchange.stream_started_);
  if (exchange.has_pending()) {
    const size_t begin = frame_chunk(exchange.pending_);
    write(exchange.pending_, begin);
  } else {
    pump();
  }
  check_slow_reader();
}

void Connection::check_slow_reader() {
  if (phase_ != Phase::kResponding) return;
  const auto n_unread = static_cast<int64_t>(out_.size() - out_begin_);
  if (n_unread <= context_->limits.slow_reader_bytes) return;
  ++context_->n_slow_readers;
  hang_up(HangUp::kSlowReader);
}

void Connection::end_stream(Exchange& exchange) {
  // The last events and the end of the chunks share one write.
  if (exchange.has_pending()) {
    const size_t begin = frame_chunk(exchange.pending_);
    out_ += std::string_view(exchange.pending_).substr(begin);
    context_->spare.give_back(std::exchange(exchange.pending_, {}));
  }
  if (!http_1_0_) out_ += "0\r\n\r\n";
  finish_response();
}

void Connection::finish_response() {
  exchange_->finished_ = true;
  exchange_->connection_ = nullptr;
  exchange_.reset();
  if (!keep_alive_ || context_->draining) {
    close_after_write_ = true;
    set_phase(Phase::kLinger, 0);
    in_.clear();
    pump();
    return;
  }
  set_phase(Phase::kIdle, context_->limits.idle_timeout_ns);
  pump();
  if (phase_ == Phase::kClosed) return;
  // Posted, not called: a pipeline of cheap requests must not recurse.
  if (!in_.empty()) {
    context_->post([self = shared_from_this()] {
      if (self->phase_ == Phase::kIdle) self->parse();
      self->wait_readable();
    });
  } else {
    wait_readable();
  }
}

// Writes the buffer from `begin`, where nothing waits before it, and gives it back.
void Connection::write(std::string& buffer, size_t begin) {
  const std::string_view bytes = std::string_view(buffer).substr(begin);
  const bool first = out_.empty() && !waiting_writable_ && !gathered_ && phase_ != Phase::kClosed;
  if (first && context_->gathering && transport_->plain_fd() >= 0) {
    gathered_ = true;
    context_->gathered.push_back({shared_from_this(), std::exchange(buffer, {}), begin});
    return;
  }
  if (first) {
    on_written(bytes, transport_->write_now(bytes.data(), bytes.size()));
  } else {
    out_ += bytes;
    pump();
  }
  context_->spare.give_back(std::exchange(buffer, {}));
}

void Connection::on_gathered_written(std::string_view bytes, IoResult put) {
  gathered_ = false;
  if (phase_ == Phase::kClosed) return;
  on_written(bytes, put);
  check_slow_reader();
}

// Of `bytes`, which go before everything in out_, the socket took what `put` says.
void Connection::on_written(std::string_view bytes, IoResult put) {
  if (put.state == IoState::kError) return on_end();
  if (put.state == IoState::kOk) {
    write_blocked_since_ns_ = 0;
    bytes.remove_prefix(put.n_bytes);
  }
  if (!bytes.empty()) out_.insert(out_begin_, bytes);
  if (!out_.empty() || close_after_write_) pump();
}

void Connection::pump() {
  if (waiting_writable_ || gathered_ || phase_ == Phase::kClosed) return;
  while (out_begin_ < out_.size()) {
    const IoResult put = transport_->write_now(out_.data() + out_begin_, out_.size() - out_begin_);
    if (put.state == IoState::kOk) {
      out_begin_ += put.n_bytes;
      write_blocked_since_ns_ = 0;
      continue;
    }
    if (put.state == IoState::kError) return on_end();
    if (write_blocked_since_ns_ == 0) write_blocked_since_ns_ = context_->clock.now_ns();
    waiting_writable_ = true;
    transport_->wait_writable([self = shared_from_this()](bool ok) {
      self->waiting_writable_ = false;
      if (self->phase_ == Phase::kClosed) return;
      if (!ok) return self->on_end();
      self->pump();
    });
    // Keeps the unsent tail at the front, so that a slow stream's buffer does not grow with what
    // was sent.
    if (out_begin_ > kMaxKeptBufferBytes) {
      out_.erase(0, out_begin_);
      out_begin_ = 0;
    }
    return;
  }
  out_.clear();
  out_begin_ = 0;
  if (out_.capacity() > kMaxKeptBufferBytes) out_.shrink_to_fit();
  if (close_after_write_) linger();
}

// The client is gone: the exchange's owner hears of it from the loop, never from inside one of its
// own calls.
void Connection::hang_up(HangUp reason) {
  auto exchange = std::move(exchange_);
  close();
  if (!exchange) return;
  exchange->connection_ = nullptr;
  context_->post([exchange, reason] {
    if (auto callback = std::exchange(exchange->on_hang_up_, {})) callback(reason);
  });
}

void Connection::linger() {
  close_after_write_ = false;
  transport_->shutdown_send();
  set_phase(Phase::kLinger, kLingerNs);
  wait_readable();
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();  // on_closed drops the server's reference
  phase_ = Phase::kClosed;
  transport_->close();
  context_->on_closed(this);
}

void Connection::close_if_idle() {
  if (phase_ == Phase::kIdle && in_.empty() && out_.empty()) close();
}

void Connection::tick(int64_t now_ns) {
  if (write_blocked_since_ns_ != 0 &&
      now_ns - write_blocked_since_ns_ > context_->limits.idle_timeout_ns) {
    return hang_up(HangUp::kSlowReader);
  }
  if (phase_deadline_ns_ == 0 || now_ns < phase_deadline_ns_) return;
  if (phase_ == Phase::kHeader || phase_ == Phase::kBody) {
    return fail_request(408, "the request did not arrive in time");
  }
  close();
}

}  // namespace trireme::router
