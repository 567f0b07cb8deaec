// Transport: a non-blocking byte stream to one client, plain TCP or TLS. For router/http alone.
//
// Reads and writes never block: they move what can be moved now, and a wait calls back once more
// can be. At most one wait of each direction is outstanding. Belongs to the loop's thread.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstddef>
#include <functional>
#include <memory>

namespace trireme::router {

enum class IoState { kOk, kWouldBlock, kEnd, kError };

struct IoResult {
  IoState state = IoState::kOk;
  size_t n_bytes = 0;  // with kOk
};

class Transport {
 public:
  using Ready = std::function<void(bool ok)>;

  virtual ~Transport() = default;
  virtual void handshake(Ready done) = 0;
  virtual void wait_readable(Ready ready) = 0;
  virtual void wait_writable(Ready ready) = 0;
  virtual IoResult read_now(char* data, size_t n_bytes) = 0;
  virtual IoResult write_now(const char* data, size_t n_bytes) = 0;
  // The socket, where write_now() is send_now() to it and nothing else; -1 where it is more.
  virtual int plain_fd() const { return -1; }
  virtual void shutdown_send() = 0;  // what was written still arrives
  virtual void close() = 0;          // outstanding waits call back with false
};

// Writes to a socket what it takes now. Thread-safe for different sockets.
IoResult send_now(int fd, const char* data, size_t n_bytes);

std::unique_ptr<Transport> make_plain_transport(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Transport> make_tls_transport(boost::asio::ip::tcp::socket socket,
                                              boost::asio::ssl::context& context);

}  // namespace trireme::router
