#include "parallel/wire/zap_handler.h"

#include <fmt/format.h>

#include <array>

#include "base/log.h"

namespace trireme::wire {

Result<std::unique_ptr<ZapHandler>> ZapHandler::start(
    void* context, const std::vector<std::string>& allowed_clients) {
  std::unique_ptr<ZapHandler> handler(new ZapHandler());
  for (const std::string& key : allowed_clients) {
    std::array<uint8_t, 32> raw{};
    if (key.size() != 40 || zmq_z85_decode(raw.data(), key.c_str()) == nullptr) {
      return invalid_argument(
          "a key on the allow-list is not a CURVE public key of 40 Z85 characters");
    }
    handler->allowed_.emplace(raw.begin(), raw.end());
  }
  const SocketOptions options;
  ASSIGN_OR_RETURN(handler->requests_, make_socket(context, ZMQ_REP, options));
  ASSIGN_OR_RETURN(handler->stop_sender_, make_socket(context, ZMQ_PAIR, options));
  ASSIGN_OR_RETURN(handler->stop_receiver_, make_socket(context, ZMQ_PAIR, options));
  TRY(bind_socket(handler->requests_.get(), "inproc://zeromq.zap.01"));
  TRY(bind_socket(handler->stop_receiver_.get(), "inproc://trireme.zap.stop"));
  TRY(connect_socket(handler->stop_sender_.get(), "inproc://trireme.zap.stop"));
  handler->thread_ = std::thread([raw = handler.get()] { raw->run(); });
  return handler;
}

ZapHandler::~ZapHandler() {
  if (!thread_.joinable()) return;
  send_frame(stop_sender_.get(), "stop");
  thread_.join();
}

void ZapHandler::run() {
  while (true) {
    zmq_pollitem_t items[] = {{requests_.get(), 0, ZMQ_POLLIN, 0},
                              {stop_receiver_.get(), 0, ZMQ_POLLIN, 0}};
    if (zmq_poll(items, 2, -1) < 0 && zmq_errno() != EINTR) return;
    if ((items[1].revents & ZMQ_POLLIN) != 0) return;
    if ((items[0].revents & ZMQ_POLLIN) != 0) answer_one();
  }
}

void ZapHandler::answer_one() {
  // Parts: version, request id, domain, address, identity, mechanism, credentials.
  const std::optional<Frames> request = receive_frames(requests_.get(), 8);
  if (!request.has_value()) return;
  const std::vector<std::string>& parts = request->parts;
  const bool allowed = parts.size() == 7 && parts[0] == "1.0" && parts[5] == "CURVE" &&
                       allowed_.count(parts[6]) == 1;
  if (!allowed) {
    const int64_t n = n_refused_.fetch_add(1) + 1;
    if ((n & (n - 1)) == 0) {
      log::warn("refused a connection from {}: its key is not on the allow-list ({} so far)",
                parts.size() > 3 ? parts[3] : "somewhere", n);
    }
  }
  // Parts: version, request id, status code, status text, user id, metadata.
  const std::array<std::string, 6> reply = {"1.0",
                                            parts.size() > 1 ? parts[1] : "",
                                            allowed ? "200" : "400",
                                            allowed ? "OK" : "this key is not allowed",
                                            allowed ? "trireme" : "",
                                            ""};
  for (size_t i = 0; i < reply.size(); ++i) {
    zmq_send(requests_.get(), reply[i].data(), reply[i].size(),
             i + 1 < reply.size() ? ZMQ_SNDMORE : 0);
  }
}

}  // namespace trireme::wire
