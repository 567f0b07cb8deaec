// RouterEndpoint over a ROUTER socket: see endpoints.h.
#include <fmt/format.h>

#include "parallel/wire/codec.h"
#include "parallel/wire/endpoints.h"
#include "parallel/wire/zap_handler.h"
#include "parallel/wire/zmq_socket.h"

namespace trireme::wire {
namespace {

class ZmqRouterEndpoint final : public RouterEndpoint {
 public:
  ZmqRouterEndpoint(ZmqContext context, std::unique_ptr<ZapHandler> zap, ZmqSocket socket)
      : context_(std::move(context)), zap_(std::move(zap)), socket_(std::move(socket)) {}

  std::string address() const override { return last_endpoint(socket_.get()); }

  Status send(const PeerId& peer, const FromRouter& message) override {
    TRY(check(message));
    switch (send_to_peer(socket_.get(), peer, encode(message))) {
      case SendOutcome::kSent:
        return {};
      case SendOutcome::kFull:
        return resource_exhausted("the replica does not read: its high-water mark is reached");
      case SendOutcome::kNoPeer:
        break;
    }
    return unavailable("the replica is not connected any more");
  }

  std::optional<FromReplicaMessage> receive() override {
    while (std::optional<Frames> frames = receive_frames(socket_.get(), 2)) {
      if (frames->n_parts != 2) {
        rejections_.rejected("router link", fmt::format("{} parts for 2", frames->n_parts));
        continue;
      }
      Result<FromReplica> message = decode_from_replica(frames->parts[1]);
      if (!message.ok()) {
        rejections_.rejected("router link", message.error().message);
        continue;
      }
      return FromReplicaMessage{std::move(frames->parts[0]), std::move(*message)};
    }
    return std::nullopt;
  }

  int event_fd() const override { return get_int(socket_.get(), ZMQ_FD); }
  int64_t n_rejected_frames() const override { return rejections_.count(); }

 private:
  // Destroyed from the last to the first: the socket, the handler that its handshakes ask, the
  // context.
  ZmqContext context_;
  std::unique_ptr<ZapHandler> zap_;
  ZmqSocket socket_;
  RejectionLog rejections_;
};

}  // namespace

Result<std::unique_ptr<RouterEndpoint>> RouterEndpoint::bind(
    const std::string& address, const std::optional<CurveServer>& curve,
    const LinkOptions& options) {
  ZmqContext context = make_context();
  std::unique_ptr<ZapHandler> zap;
  ASSIGN_OR_RETURN(ZmqSocket socket, make_socket(context.get(), ZMQ_ROUTER,
                                                 {.high_water_mark = options.high_water_mark,
                                                  .max_message_bytes = options.max_message_bytes}));
  set_int(socket.get(), ZMQ_ROUTER_MANDATORY, 1);
  // Replicas name no routing id, so every connection gets a fresh one here. Handover stays off:
  // nobody who claims the id of another connection can take it over.
  set_int(socket.get(), ZMQ_ROUTER_HANDOVER, 0);
  if (curve.has_value() && !curve->secret_key.empty()) {
    ASSIGN_OR_RETURN(zap, ZapHandler::start(context.get(), curve->allowed_clients));
    TRY(use_curve_server(socket.get(), curve->public_key, curve->secret_key));
  }
  TRY(bind_socket(socket.get(), address));
  return std::unique_ptr<RouterEndpoint>(
      std::make_unique<ZmqRouterEndpoint>(std::move(context), std::move(zap), std::move(socket)));
}

}  // namespace trireme::wire
