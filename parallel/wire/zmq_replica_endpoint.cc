// ReplicaEndpoint over a DEALER socket: see endpoints.h.
#include <fmt/format.h>

#include "parallel/wire/codec.h"
#include "parallel/wire/endpoints.h"
#include "parallel/wire/zmq_socket.h"

namespace trireme::wire {
namespace {

class ZmqReplicaEndpoint final : public ReplicaEndpoint {
 public:
  ZmqReplicaEndpoint(std::string address, ZmqContext context, ZmqSocket socket)
      : address_(std::move(address)), context_(std::move(context)), socket_(std::move(socket)) {}

  Status send(const FromReplica& message) override {
    TRY(check(message));
    if (send_frame(socket_.get(), encode(message)) == SendOutcome::kSent) return {};
    // A DEALER says the same of both; with ZMQ_IMMEDIATE nothing is queued for a router that is not
    // there.
    return unavailable(fmt::format(
        "the router at {} is not connected, or does not read (high-water mark)", address_));
  }

  std::optional<FromRouter> receive() override {
    while (std::optional<Frames> frames = receive_frames(socket_.get(), 1)) {
      if (frames->n_parts != 1) {
        rejections_.rejected("replica link", fmt::format("{} parts for 1", frames->n_parts));
        continue;
      }
      Result<FromRouter> message = decode_from_router(frames->parts[0]);
      if (message.ok()) return std::move(*message);
      rejections_.rejected("replica link", message.error().message);
    }
    return std::nullopt;
  }

  int event_fd() const override { return get_int(socket_.get(), ZMQ_FD); }
  int64_t n_rejected_frames() const override { return rejections_.count(); }

 private:
  const std::string address_;
  ZmqContext context_;  // outlives the socket
  ZmqSocket socket_;
  RejectionLog rejections_;
};

}  // namespace

Result<std::unique_ptr<ReplicaEndpoint>> ReplicaEndpoint::connect(
    const std::string& address, const std::optional<CurveClient>& curve,
    const LinkOptions& options) {
  ZmqContext context = make_context();
  ASSIGN_OR_RETURN(ZmqSocket socket, make_socket(context.get(), ZMQ_DEALER,
                                                 {.high_water_mark = options.high_water_mark,
                                                  .max_message_bytes = options.max_message_bytes}));
  // News of an old connection is stale on a new one: queue only while connected.
  set_int(socket.get(), ZMQ_IMMEDIATE, 1);
  if (curve.has_value() && !curve->secret_key.empty()) {
    TRY(use_curve_client(socket.get(), curve->server_key, curve->public_key, curve->secret_key));
  }
  TRY(connect_socket(socket.get(), address));
  return std::unique_ptr<ReplicaEndpoint>(
      std::make_unique<ZmqReplicaEndpoint>(address, std::move(context), std::move(socket)));
}

}  // namespace trireme::wire
