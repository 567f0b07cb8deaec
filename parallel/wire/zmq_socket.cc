#include "parallel/wire/zmq_socket.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"

namespace trireme::wire {
namespace {

std::string reason() { return zmq_strerror(zmq_errno()); }

// A zmq_msg_t that is closed on every way out.
class Message {
 public:
  Message() { zmq_msg_init(&message_); }
  ~Message() { zmq_msg_close(&message_); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  zmq_msg_t* get() { return &message_; }
  std::string text() {
    return {static_cast<const char*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
  }

 private:
  zmq_msg_t message_;
};

}  // namespace

ZmqContext make_context() {
  ZmqContext context(zmq_ctx_new());
  CHECK(context != nullptr) << "zmq_ctx_new: " << reason();
  return context;
}

Result<ZmqSocket> make_socket(void* context, int type, const SocketOptions& options) {
  ZmqSocket socket(zmq_socket(context, type));
  if (socket == nullptr) {
    return resource_exhausted(fmt::format("cannot open a ZeroMQ socket: {}", reason()));
  }
  void* s = socket.get();
  set_int(s, ZMQ_SNDHWM, options.high_water_mark);
  set_int(s, ZMQ_RCVHWM, options.high_water_mark);
  set_int(s, ZMQ_LINGER, options.linger_ms);
  set_int(s, ZMQ_HEARTBEAT_IVL, options.heartbeat_interval_ms);
  set_int(s, ZMQ_HEARTBEAT_TIMEOUT, options.heartbeat_timeout_ms);
  set_int(s, ZMQ_HEARTBEAT_TTL, options.heartbeat_timeout_ms);
  set_int(s, ZMQ_HANDSHAKE_IVL, 10'000);
  set_int(s, ZMQ_RECONNECT_IVL, 50);
  set_int(s, ZMQ_RECONNECT_IVL_MAX, 500);
  set_int(s, ZMQ_TCP_KEEPALIVE, 1);
  set_int(s, ZMQ_TCP_KEEPALIVE_IDLE, 30);
  set_int(s, ZMQ_TCP_KEEPALIVE_INTVL, 10);
  set_int(s, ZMQ_TCP_KEEPALIVE_CNT, 3);
  const int64_t max_bytes = options.max_message_bytes;
  CHECK_EQ(zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &max_bytes, sizeof(max_bytes)), 0);
  return socket;
}

void set_int(void* socket, int option, int value) {
  const int rc = zmq_setsockopt(socket, option, &value, sizeof(value));
  CHECK_EQ(rc, 0) << "option " << option << " = " << value << ": " << reason();
}

int get_int(void* socket, int option) {
  int value = 0;
  size_t size = sizeof(value);
  const int rc = zmq_getsockopt(socket, option, &value, &size);
  CHECK_EQ(rc, 0) << "option " << option << ": " << reason();
  return value;
}

std::string last_endpoint(void* socket) {
  std::array<char, 512> text{};
  size_t size = text.size();
  CHECK_EQ(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, text.data(), &size), 0) << reason();
  return text.data();
}

namespace {

Status set_key(void* socket, int option, const std::string& key, const char* what) {
  std::array<uint8_t, 32> raw{};
  if (key.size() != 40 || zmq_z85_decode(raw.data(), key.c_str()) == nullptr ||
      zmq_setsockopt(socket, option, raw.data(), raw.size()) != 0) {
    return invalid_argument(fmt::format("the {} is not a CURVE key of 40 Z85 characters", what));
  }
  return {};
}

}  // namespace

Status use_curve_server(void* socket, const std::string& public_key,
                        const std::string& secret_key) {
  set_int(socket, ZMQ_CURVE_SERVER, 1);
  TRY(set_key(socket, ZMQ_CURVE_PUBLICKEY, public_key, "server's public key"));
  TRY(set_key(socket, ZMQ_CURVE_SECRETKEY, secret_key, "server's secret key"));
  const std::string_view domain = "trireme";
  CHECK_EQ(zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain.data(), domain.size()), 0);
  return {};
}

Status use_curve_client(void* socket, const std::string& server_key, const std::string& public_key,
                        const std::string& secret_key) {
  TRY(set_key(socket, ZMQ_CURVE_SERVERKEY, server_key, "server's public key"));
  TRY(set_key(socket, ZMQ_CURVE_PUBLICKEY, public_key, "client's public key"));
  return set_key(socket, ZMQ_CURVE_SECRETKEY, secret_key, "client's secret key");
}

Status bind_socket(void* socket, const std::string& address) {
  if (address.find('[') != std::string::npos) set_int(socket, ZMQ_IPV6, 1);
  if (zmq_bind(socket, address.c_str()) == 0) return {};
  const int error = zmq_errno();
  if (error == EADDRINUSE) {
    return Error{ErrorCode::kAlreadyExists,
                 fmt::format("cannot listen on {}: the port is taken by another process", address)};
  }
  if (error == ENODEV || error == EADDRNOTAVAIL) {
    return failed_precondition(
        fmt::format("cannot listen on {}: the address is not one of this machine", address));
  }
  if (error == EINVAL || error == EPROTONOSUPPORT || error == ENOCOMPATPROTO) {
    return invalid_argument(
        fmt::format("\"{}\" is no address to listen on; one is tcp://127.0.0.1:7000", address));
  }
  return failed_precondition(fmt::format("cannot listen on {}: {}", address, reason()));
}

Status connect_socket(void* socket, const std::string& address) {
  if (address.find('[') != std::string::npos) set_int(socket, ZMQ_IPV6, 1);
  if (zmq_connect(socket, address.c_str()) == 0) return {};
  return invalid_argument(fmt::format("\"{}\" is no address to connect to: {}", address, reason()));
}

std::optional<Frames> receive_frames(void* socket, size_t max_parts) {
  Frames frames;
  bool more = true;
  while (more) {
    Message message;
    if (zmq_msg_recv(message.get(), socket, ZMQ_DONTWAIT) < 0) {
      // The parts of a message arrive together: this is only ever the first one.
      if (zmq_errno() == EINTR) continue;
      return std::nullopt;
    }
    more = zmq_msg_more(message.get()) != 0;
    if (frames.n_parts++ < max_parts) frames.parts.push_back(message.text());
  }
  return frames;
}

namespace {

SendOutcome send_part(void* socket, std::string_view part, int flags) {
  while (zmq_send(socket, part.data(), part.size(), ZMQ_DONTWAIT | flags) < 0) {
    const int error = zmq_errno();
    if (error == EINTR) continue;
    return error == EAGAIN ? SendOutcome::kFull : SendOutcome::kNoPeer;
  }
  return SendOutcome::kSent;
}

}  // namespace

SendOutcome send_frame(void* socket, std::string_view payload) {
  return send_part(socket, payload, 0);
}

SendOutcome send_to_peer(void* socket, std::string_view peer, std::string_view payload) {
  // A ROUTER with ROUTER_MANDATORY judges the peer and its high-water mark at the first part; the
  // second then always goes.
  const SendOutcome outcome = send_part(socket, peer, ZMQ_SNDMORE);
  if (outcome != SendOutcome::kSent) return outcome;
  return send_part(socket, payload, 0);
}

void RejectionLog::rejected(std::string_view link, std::string_view why) {
  ++count_;
  if (std::has_single_bit(static_cast<uint64_t>(count_))) {
    log::warn("{}: dropped a frame ({} so far): {}", link, count_, why);
  }
}

}  // namespace trireme::wire
