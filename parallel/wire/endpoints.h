// The two ends of the router-replica link over ZeroMQ with CURVE.
//
// Each endpoint belongs to one thread (ZeroMQ sockets are not shared). Sends never block: a full
// high-water mark or a gone peer is an error. A frame that the codec refuses is dropped, counted
// and logged; it never reaches the caller. Limits of conventions section 3: ROUTER_MANDATORY,
// high-water marks on both ends, MAXMSGSIZE, LINGER 0, heartbeats.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "parallel/wire/messages.h"

namespace trireme::wire {

// CURVE keys, Z85. An empty server secret means that CURVE is off (tests, or `curve: false` in the
// config).
struct CurveServer {
  std::string public_key;
  std::string secret_key;
  std::vector<std::string> allowed_clients;  // public keys; anybody else is refused
};
struct CurveClient {
  std::string server_key;
  std::string public_key;
  std::string secret_key;
};

struct LinkOptions {
  int high_water_mark = 10'000;  // messages, both directions
  int64_t max_message_bytes = 64 << 20;
};

// A connected replica as the router's end knows it: the ZeroMQ routing id of its connection.
using PeerId = std::string;

struct FromReplicaMessage {
  PeerId peer;
  FromReplica message;
};

class RouterEndpoint {
 public:
  // Binds "tcp://127.0.0.1:7000" (port 0 or "*": any). already_exists when the port is taken.
  static Result<std::unique_ptr<RouterEndpoint>> bind(const std::string& address,
                                                      const std::optional<CurveServer>& curve,
                                                      const LinkOptions& options);
  virtual ~RouterEndpoint() = default;
  virtual std::string address() const = 0;  // as bound, with the real port
  virtual Status send(const PeerId& peer, const FromRouter& message) = 0;
  // The next message, or nullopt when there is none now. Never blocks.
  virtual std::optional<FromReplicaMessage> receive() = 0;
  // Edge-triggered (ZMQ_FD): after it turns readable, receive() until nullopt; also receive() after
  // each send.
  virtual int event_fd() const = 0;
  virtual int64_t n_rejected_frames() const = 0;
};

// One replica's connection to one router. It reconnects by itself for ever.
class ReplicaEndpoint {
 public:
  static Result<std::unique_ptr<ReplicaEndpoint>> connect(const std::string& address,
                                                          const std::optional<CurveClient>& curve,
                                                          const LinkOptions& options);
  virtual ~ReplicaEndpoint() = default;
  virtual Status send(const FromReplica& message) = 0;
  virtual std::optional<FromRouter> receive() = 0;
  virtual int event_fd() const = 0;
  virtual int64_t n_rejected_frames() const = 0;
};

}  // namespace trireme::wire
