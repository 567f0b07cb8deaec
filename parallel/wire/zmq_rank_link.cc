// A rank's end of the step link: see zmq_step_link.h.
#include <fmt/format.h>

#include <mutex>

#include "parallel/wire/codec.h"
#include "parallel/wire/limits.h"
#include "parallel/wire/step_heartbeat.h"
#include "parallel/wire/zmq_step_link.h"

namespace trireme::wire {
namespace {

// A last RankFailure should leave before the process does.
constexpr int kLingerMs = 500;

class ZmqRankLink final : public step::RankLink {
 public:
  explicit ZmqRankLink(ZmqContext context) : context_(std::move(context)) {}
  ~ZmqRankLink() override { heartbeat_.reset(); }

  Status open(const StepLinkAddress& address, int worker_rank, const RankLinkOptions& options);

  Result<step::RankCommand> receive() override;
  Result<std::optional<step::RankCommand>> poll() override;
  Status send(const step::RankEvent& event) override;

 private:
  Result<ZmqSocket> connected_dealer(const StepLinkAddress& address, const std::string& endpoint,
                                     int worker_rank, bool immediate);
  void lost(const Error& error);

  // Destroyed from the last to the first; the heartbeat thread ends before anything else
  // (destructor).
  ZmqContext context_;
  std::mutex
      mutex_;  // guards data_ and lost_error_: receive() and send() come from different threads
  ZmqSocket data_;
  std::optional<Error> lost_error_;
  WakeFd wake_;
  std::function<void(const Error&)> on_lost_;
  std::unique_ptr<RankHeartbeat> heartbeat_;
};

Result<ZmqSocket> ZmqRankLink::connected_dealer(const StepLinkAddress& address,
                                                const std::string& endpoint, int worker_rank,
                                                bool immediate) {
  ASSIGN_OR_RETURN(ZmqSocket socket,
                   make_socket(context_.get(), ZMQ_DEALER,
                               {.max_message_bytes = static_cast<int64_t>(kMaxMessageBytes),
                                .linger_ms = kLingerMs}));
  set_int(socket.get(), ZMQ_IMMEDIATE, immediate ? 1 : 0);
  const std::string id = rank_routing_id(worker_rank);
  CHECK(zmq_setsockopt(socket.get(), ZMQ_ROUTING_ID, id.data(), id.size()) == 0);
  TRY(use_curve_client(socket.get(), address.server_public_key, address.client_public_key,
                       address.client_secret_key));
  TRY(connect_socket(socket.get(), endpoint));
  return socket;
}

Status ZmqRankLink::open(const StepLinkAddress& address, int worker_rank,
                         const RankLinkOptions& options) {
  on_lost_ = options.on_lost;
  ASSIGN_OR_RETURN(data_, connected_dealer(address, address.data_endpoint, worker_rank, false));
  ASSIGN_OR_RETURN(ZmqSocket beats,
                   connected_dealer(address, address.heartbeat_endpoint, worker_rank, true));
  heartbeat_ = std::make_unique<RankHeartbeat>(
      std::move(beats), HeartbeatTimes{options.heartbeat_ns, options.dead_ns, 0},
      [this](const Error& error) { lost(error); });
  if (heartbeat_->wait_heard(options.connect_timeout_ns)) return {};
  return unavailable(fmt::format(
      "rank {} did not hear its coordinator within {:.1f} s: is it reachable, and of this job?",
      worker_rank, static_cast<double>(options.connect_timeout_ns) / 1e9));
}

void ZmqRankLink::lost(const Error& error) {
  // The callback comes first: it says why before the main thread, woken below, can end the process
  // without a word.
  if (on_lost_) on_lost_(error);
  {
    const std::lock_guard lock(mutex_);
    lost_error_ = error;
  }
  wake_.signal();
}

Result<step::RankCommand> ZmqRankLink::receive() {
  const int data_fd = get_int(data_.get(), ZMQ_FD);
  while (true) {
    wake_.clear();
    ASSIGN_OR_RETURN(std::optional<step::RankCommand> command, poll());
    if (command.has_value()) return std::move(*command);
    // Another thread's send() may swallow the socket's edge between here and the wait: it then
    // signals wake_.
    wait_readable({data_fd, wake_.fd()}, -1);
  }
}

Result<std::optional<step::RankCommand>> ZmqRankLink::poll() {
  std::optional<Frames> frames;
  {
    const std::lock_guard lock(mutex_);
    frames = receive_frames(data_.get(), 1);
    if (!frames.has_value() && lost_error_.has_value()) {
      wake_.signal();  // it stays lost for whoever asks again
      return *lost_error_;
    }
  }
  if (!frames.has_value()) return std::optional<step::RankCommand>();
  if (frames->n_parts != 1) return data_loss("a command came in several parts");
  ASSIGN_OR_RETURN(step::RankCommand command, decode_rank_command(frames->parts[0]));
  if (std::holds_alternative<step::Shutdown>(command)) heartbeat_->end_vigil();
  return std::optional<step::RankCommand>(std::move(command));
}

Status ZmqRankLink::send(const step::RankEvent& event) {
  TRY(check(event));
  const std::string bytes = encode(event);
  const std::lock_guard lock(mutex_);
  if (lost_error_.has_value()) return *lost_error_;
  const SendOutcome outcome = send_frame(data_.get(), bytes);
  if ((get_int(data_.get(), ZMQ_EVENTS) & ZMQ_POLLIN) != 0) wake_.signal();
  if (outcome == SendOutcome::kSent) return {};
  return unavailable("the coordinator does not read what its ranks say");
}

}  // namespace

Result<std::unique_ptr<step::RankLink>> connect_rank_link(const StepLinkAddress& address,
                                                          int worker_rank,
                                                          const RankLinkOptions& options) {
  if (worker_rank < 0 || worker_rank >= kMaxRanks) {
    return invalid_argument(fmt::format("there is no worker rank {}", worker_rank));
  }
  if (options.heartbeat_ns <= 0 || options.dead_ns < 2 * options.heartbeat_ns) {
    return invalid_argument(
        "a coordinator may be called dead after two heartbeats at the earliest");
  }
  auto link = std::make_unique<ZmqRankLink>(make_context());
  TRY(link->open(address, worker_rank, options));
  return std::unique_ptr<step::RankLink>(std::move(link));
}

}  // namespace trireme::wire
