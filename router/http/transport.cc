#include "router/http/transport.h"

#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <string>

namespace trireme::router {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

bool blocked() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(tcp::socket socket) : socket_(std::move(socket)) {}

  void handshake(Ready done) override {
    asio::post(socket_.get_executor(), [done = std::move(done)] { done(true); });
  }

  void wait_readable(Ready ready) override {
    socket_.async_wait(tcp::socket::wait_read,
                       [ready = std::move(ready)](const error_code& ec) { ready(!ec); });
  }

  void wait_writable(Ready ready) override {
    socket_.async_wait(tcp::socket::wait_write,
                       [ready = std::move(ready)](const error_code& ec) { ready(!ec); });
  }

  IoResult read_now(char* data, size_t n_bytes) override {
    const ssize_t n = ::recv(socket_.native_handle(), data, n_bytes, MSG_DONTWAIT);
    if (n > 0) return {IoState::kOk, static_cast<size_t>(n)};
    if (n == 0) return {IoState::kEnd};
    return {blocked() ? IoState::kWouldBlock : IoState::kError};
  }

  IoResult write_now(const char* data, size_t n_bytes) override {
    return send_now(plain_fd(), data, n_bytes);
  }

  int plain_fd() const override {
    // What asks for it only reads; native_handle() is not const.
    return const_cast<tcp::socket&>(socket_).native_handle();
  }

  void shutdown_send() override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }

  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  tcp::socket socket_;
};

// asio's TLS stream completes reads and writes as a whole, so one buffer each way stands between it
// and the caller. The state is shared with the operations in flight, which may outlive the
// transport.
class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, asio::ssl::context& context)
      : state_(std::make_shared<State>(std::move(socket), context)) {}

  ~TlsTransport() override { TlsTransport::close(); }

  void handshake(Ready done) override {
    state_->stream.async_handshake(
        asio::ssl::stream_base::server,
        [state = state_, done = std::move(done)](const error_code& ec) { done(!ec); });
  }

  void wait_readable(Ready ready) override {
    if (state_->in_begin < state_->in_end || state_->read_failed) {
      asio::post(state_->stream.get_executor(), [ready = std::move(ready)] { ready(true); });
      return;
    }
    state_->stream.async_read_some(
        asio::buffer(state_->in),
        [state = state_, ready = std::move(ready)](const error_code& ec, size_t n) {
          state->in_begin = 0;
          state->in_end = n;
          if (ec) state->read_failed = true;
          ready(ec != asio::error::operation_aborted);
        });
  }

  void wait_writable(Ready ready) override { state_->on_writable = std::move(ready); }

  IoResult read_now(char* data, size_t n_bytes) override {
    const size_t n = std::min(n_bytes, state_->in_end - state_->in_begin);
    if (n > 0) {
      std::copy_n(state_->in.data() + state_->in_begin, n, data);
      state_->in_begin += n;
      return {IoState::kOk, n};
    }
    return {state_->read_failed ? IoState::kEnd : IoState::kWouldBlock};
  }

  IoResult write_now(const char* data, size_t n_bytes) override {
    if (state_->write_failed) return {IoState::kError};
    if (state_->writing) return {IoState::kWouldBlock};
    const size_t n = std::min(n_bytes, kMaxWriteBytes);
    state_->out.assign(data, n);
    state_->writing = true;
    asio::async_write(state_->stream, asio::buffer(state_->out),
                      [state = state_](const error_code& ec, size_t) {
                        state->writing = false;
                        state->write_failed = static_cast<bool>(ec);
                        if (state->shutdown_wanted) send_close_notify(state);
                        if (Ready ready = std::exchange(state->on_writable, {})) ready(!ec);
                      });
    return {IoState::kOk, n};
  }

  void shutdown_send() override {
    state_->shutdown_wanted = true;
    if (!state_->writing) send_close_notify(state_);
  }

  void close() override {
    error_code ignored;
    state_->stream.lowest_layer().close(ignored);
    // Nobody waits on a closed transport; the callback would hold its connection alive.
    if (Ready ready = std::exchange(state_->on_writable, {})) {
      asio::post(state_->stream.get_executor(), [ready = std::move(ready)] { ready(false); });
    }
  }

 private:
  static constexpr size_t kMaxWriteBytes = 64 << 10;

  struct State {
    State(tcp::socket socket, asio::ssl::context& context) : stream(std::move(socket), context) {}

    asio::ssl::stream<tcp::socket> stream;
    std::array<char, 16 << 10> in;
    size_t in_begin = 0;
    size_t in_end = 0;
    std::string out;
    Ready on_writable;
    bool read_failed = false;
    bool writing = false;
    bool write_failed = false;
    bool shutdown_wanted = false;
  };

  // TLS's own end of stream; the client's answer to it is awaited no longer than the connection
  // lingers.
  static void send_close_notify(const std::shared_ptr<State>& state) {
    state->stream.async_shutdown([state](const error_code&) {});
  }

  std::shared_ptr<State> state_;
};

}  // namespace

IoResult send_now(int fd, const char* data, size_t n_bytes) {
  const ssize_t n = ::send(fd, data, n_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n >= 0) return {IoState::kOk, static_cast<size_t>(n)};
  return {blocked() ? IoState::kWouldBlock : IoState::kError};
}

std::unique_ptr<Transport> make_plain_transport(tcp::socket socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

std::unique_ptr<Transport> make_tls_transport(tcp::socket socket, asio::ssl::context& context) {
  return std::make_unique<TlsTransport>(std::move(socket), context);
}

}  // namespace trireme::router
