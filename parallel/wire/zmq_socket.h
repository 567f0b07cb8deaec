// ZeroMQ contexts and sockets that close themselves, and the options that every link of ours has.
// Internal to this folder.
//
// A socket belongs to one thread, or is guarded by one mutex. Sends and receives here never block.
#pragma once

#include <zmq.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trireme::wire {

struct ContextCloser {
  void operator()(void* context) const { zmq_ctx_term(context); }
};
struct SocketCloser {
  void operator()(void* socket) const { zmq_close(socket); }
};
using ZmqContext = std::unique_ptr<void, ContextCloser>;
using ZmqSocket = std::unique_ptr<void, SocketCloser>;

// One context per link: two links of one process never share a ZAP handler.
ZmqContext make_context();

struct SocketOptions {
  int high_water_mark = 10'000;          // messages, both directions; 0: none
  int64_t max_message_bytes = 64 << 20;  // a peer that sends more is cut off
  int linger_ms = 0;                     // how long closing waits for what is not sent yet
  int heartbeat_interval_ms = 1'000;     // ZMTP's own, which notices dead TCP connections
  int heartbeat_timeout_ms = 10'000;
};

// A socket with limits, keepalive and heartbeats set, not yet bound or connected. An error only
// when the process is out of file descriptors or memory.
Result<ZmqSocket> make_socket(void* context, int type, const SocketOptions& options);

void set_int(void* socket, int option, int value);
int get_int(void* socket, int option);
std::string last_endpoint(void* socket);

// CURVE on this socket. invalid_argument when a key is no Z85 key.
Status use_curve_server(void* socket, const std::string& public_key, const std::string& secret_key);
Status use_curve_client(void* socket, const std::string& server_key, const std::string& public_key,
                        const std::string& secret_key);

// already_exists when the port is taken, failed_precondition when the address is none of this
// machine.
Status bind_socket(void* socket, const std::string& address);
Status connect_socket(void* socket, const std::string& address);

// One message of one or two parts. The parts beyond `max_parts` are counted and thrown away.
struct Frames {
  std::vector<std::string> parts;
  size_t n_parts = 0;  // as sent
};
// nullopt: nothing there now (or the context ends).
std::optional<Frames> receive_frames(void* socket, size_t max_parts);

enum class SendOutcome { kSent, kFull, kNoPeer };
SendOutcome send_frame(void* socket, std::string_view payload);
SendOutcome send_to_peer(void* socket, std::string_view peer, std::string_view payload);

// Says on the log that a frame was dropped, but not more than a few times: a peer cannot fill the
// disk.
class RejectionLog {
 public:
  void rejected(std::string_view link, std::string_view reason);
  int64_t count() const { return count_; }

 private:
  int64_t count_ = 0;
};

}  // namespace trireme::wire
