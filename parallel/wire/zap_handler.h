// Decides who may connect: the ZAP (ZeroMQ RFC 27) handler of one context, on a thread of its own.
//
// A client gets in when its CURVE public key is on the list; everybody else is refused during the
// handshake. Every other mechanism (NULL, PLAIN) is refused. Internal to this folder. Start it
// before the first bind; stop it (by destroying it) after the sockets of the context are closed and
// before the context is.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "parallel/wire/zmq_socket.h"

namespace trireme::wire {

class ZapHandler {
 public:
  // `allowed_clients` are Z85 public keys.
  static Result<std::unique_ptr<ZapHandler>> start(void* context,
                                                   const std::vector<std::string>& allowed_clients);
  ~ZapHandler();
  ZapHandler(const ZapHandler&) = delete;
  ZapHandler& operator=(const ZapHandler&) = delete;

  int64_t n_refused() const { return n_refused_.load(); }

 private:
  ZapHandler() = default;
  void run();
  void answer_one();

  std::set<std::string> allowed_;  // raw keys, 32 bytes
  ZmqSocket requests_;             // the handler's thread uses it alone after start()
  ZmqSocket stop_sender_;
  ZmqSocket stop_receiver_;
  std::atomic<int64_t> n_refused_{0};
  std::thread thread_;
};

}  // namespace trireme::wire
