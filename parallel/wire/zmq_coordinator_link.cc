// The coordinator's end of the step link: see zmq_step_link.h.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>

#include "base/log.h"
#include "parallel/wire/codec.h"
#include "parallel/wire/curve_keys.h"
#include "parallel/wire/limits.h"
#include "parallel/wire/step_heartbeat.h"
#include "parallel/wire/zap_handler.h"
#include "parallel/wire/zmq_step_link.h"

namespace trireme::wire {
namespace {

// How long closing waits for a Shutdown or a last word to leave.
constexpr int kLingerMs = 500;

// Failures on their way from the heartbeat thread to the caller of receive(). Thread-safe.
class FailureQueue {
 public:
  void push(step::RankFailure failure) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(failure));
    }
    wake.signal();
  }
  std::optional<step::RankFailure> pop() {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return std::nullopt;
    step::RankFailure failure = std::move(queue_.front());
    queue_.pop_front();
    return failure;
  }

  WakeFd wake;

 private:
  std::mutex mutex_;
  std::deque<step::RankFailure> queue_;
};

class ZmqCoordinatorLink final : public step::CoordinatorLink {
 public:
  ZmqCoordinatorLink(int n_ranks, ZmqContext context)
      : n_ranks_(n_ranks), context_(std::move(context)) {}
  ~ZmqCoordinatorLink() override {
    heartbeat_.reset();
    if (epoll_fd_ >= 0) ::close(epoll_fd_);
  }

  Result<StepLinkAddress> open(const CoordinatorLinkOptions& options);

  int n_ranks() const override { return n_ranks_; }
  Status send(const step::RankCommand& command) override;
  std::optional<step::RankEvent> receive(int64_t timeout_ns) override;
  int event_fd() const override { return epoll_fd_; }

 private:
  Result<ZmqSocket> bound_router(const CoordinatorLinkOptions& options, const CurvePair& server,
                                 std::string* endpoint);
  Status watch(int fd);
  std::optional<step::RankEvent> receive_now();

  const int n_ranks_;
  // Destroyed from the last to the first; the heartbeat thread ends before anything else
  // (destructor).
  ZmqContext context_;
  std::unique_ptr<ZapHandler> zap_;
  FailureQueue failures_;
  ZmqSocket data_;
  std::unique_ptr<CoordinatorHeartbeat> heartbeat_;
  int epoll_fd_ = -1;  // the data socket's descriptor and the failures' in one
};

// "tcp://10.0.0.7:40123" with another host.
std::string with_host(const std::string& endpoint, const std::string& host) {
  return fmt::format("tcp://{}{}", host, endpoint.substr(endpoint.rfind(':')));
}

Result<ZmqSocket> ZmqCoordinatorLink::bound_router(const CoordinatorLinkOptions& options,
                                                   const CurvePair& server, std::string* endpoint) {
  ASSIGN_OR_RETURN(ZmqSocket socket,
                   make_socket(context_.get(), ZMQ_ROUTER,
                               {.max_message_bytes = static_cast<int64_t>(kMaxMessageBytes),
                                .linger_ms = kLingerMs}));
  set_int(socket.get(), ZMQ_ROUTER_MANDATORY, 1);
  // A rank names its routing id, and only ranks hold the job's key: a rank that dials again takes
  // its place back at once.
  set_int(socket.get(), ZMQ_ROUTER_HANDOVER, 1);
  TRY(use_curve_server(socket.get(), server.public_key, server.secret_key));
  if (options.bind_host.empty()) {
    uint64_t name[2] = {};
    if (::getrandom(name, sizeof(name), 0) != sizeof(name)) {
      return internal_error("the system gives no random bytes");
    }
    *endpoint = fmt::format("ipc://@trireme-step-{:016x}{:016x}", name[0], name[1]);
    TRY(bind_socket(socket.get(), *endpoint));
  } else {
    TRY(bind_socket(socket.get(), fmt::format("tcp://{}:*", options.bind_host)));
    *endpoint = last_endpoint(socket.get());
    if (!options.advertise_host.empty()) *endpoint = with_host(*endpoint, options.advertise_host);
  }
  return socket;
}

Status ZmqCoordinatorLink::watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    return resource_exhausted(fmt::format("cannot watch a descriptor: {}", std::strerror(errno)));
  }
  return {};
}

Result<StepLinkAddress> ZmqCoordinatorLink::open(const CoordinatorLinkOptions& options) {
  ASSIGN_OR_RETURN(const CurvePair server, make_curve_pair());
  ASSIGN_OR_RETURN(const CurvePair client, make_curve_pair());
  ASSIGN_OR_RETURN(zap_, ZapHandler::start(context_.get(), {client.public_key}));
  StepLinkAddress address{.server_public_key = server.public_key,
                          .client_public_key = client.public_key,
                          .client_secret_key = client.secret_key};
  ASSIGN_OR_RETURN(data_, bound_router(options, server, &address.data_endpoint));
  ASSIGN_OR_RETURN(ZmqSocket beats, bound_router(options, server, &address.heartbeat_endpoint));
  epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0) return resource_exhausted("the process is out of file descriptors");
  TRY(watch(get_int(data_.get(), ZMQ_FD)));
  TRY(watch(failures_.wake.fd()));
  heartbeat_ = std::make_unique<CoordinatorHeartbeat>(
      std::move(beats), n_ranks_,
      HeartbeatTimes{options.heartbeat_ns, options.dead_ns, options.join_ns},
      [this](step::RankFailure failure) { failures_.push(std::move(failure)); });
  return address;
}

Status ZmqCoordinatorLink::send(const step::RankCommand& command) {
  TRY(check(command));
  if (std::holds_alternative<step::Shutdown>(command)) heartbeat_->end_vigil();
  const std::string bytes = encode(command);
  Status status;
  // The others get it also when one is gone: they stop together, not one collective later.
  for (int rank = 0; rank < n_ranks_; ++rank) {
    const SendOutcome outcome = send_to_peer(data_.get(), rank_routing_id(rank), bytes);
    if (outcome == SendOutcome::kSent || !status.ok()) continue;
    status = outcome == SendOutcome::kFull
                 ? unavailable(fmt::format("rank {} does not read its plans", rank))
                 : unavailable(fmt::format("rank {} is not connected", rank));
  }
  // A send may swallow the socket's edge: hand it on to who waits on event_fd().
  if ((get_int(data_.get(), ZMQ_EVENTS) & ZMQ_POLLIN) != 0) failures_.wake.signal();
  return status;
}

std::optional<step::RankEvent> ZmqCoordinatorLink::receive_now() {
  while (std::optional<Frames> frames = receive_frames(data_.get(), 2)) {
    const int rank = rank_of_routing_id(frames->parts[0], n_ranks_);
    if (rank < 0 || frames->n_parts != 2) {
      log::warn("step link: dropped a frame that comes from no rank");
      continue;
    }
    Result<step::RankEvent> event = decode_rank_event(frames->parts[1]);
    if (event.ok()) return std::move(*event);
    return step::RankFailure{rank, StepId(0), "decode", event.error().message};
  }
  // What a rank said itself comes before what its silence says.
  std::optional<step::RankFailure> failure = failures_.pop();
  if (failure.has_value()) return std::move(*failure);
  return std::nullopt;
}

std::optional<step::RankEvent> ZmqCoordinatorLink::receive(int64_t timeout_ns) {
  const int64_t end_ns = monotonic_ns() + std::max<int64_t>(timeout_ns, 0);
  while (true) {
    failures_.wake.clear();
    if (std::optional<step::RankEvent> event = receive_now(); event.has_value()) return event;
    const int64_t left_ns = timeout_ns <= 0 ? 0 : end_ns - monotonic_ns();
    if (left_ns <= 0) return std::nullopt;
    wait_readable({epoll_fd_}, left_ns);
  }
}

}  // namespace

Result<BoundCoordinatorLink> bind_coordinator_link(const CoordinatorLinkOptions& options) {
  if (options.n_ranks < 1 || options.n_ranks > kMaxRanks) {
    return invalid_argument(fmt::format("a step link of {} ranks; from 1 to {} are possible",
                                        options.n_ranks, kMaxRanks));
  }
  if (options.heartbeat_ns <= 0 || options.dead_ns < 2 * options.heartbeat_ns) {
    return invalid_argument("a rank may be called dead after two heartbeats at the earliest");
  }
  const bool everywhere = options.bind_host == "0.0.0.0" || options.bind_host == "*";
  if (everywhere && options.advertise_host.empty()) {
    return invalid_argument(
        "a coordinator that listens on every interface must name the address that its ranks dial");
  }
  auto link = std::make_unique<ZmqCoordinatorLink>(options.n_ranks, make_context());
  ASSIGN_OR_RETURN(StepLinkAddress address, link->open(options));
  return BoundCoordinatorLink{std::move(link), std::move(address)};
}

}  // namespace trireme::wire
