// StepLink: how step plans reach the ranks of a replica and results come back.
//
// Two ends, two transports: inproc (threads of one process) and ZeroMQ (parallel/wire/zmq_step_link.h). Heartbeats ride on
// the same link, beside MPI and NCCL, so that liveness never depends on a collective. Waiting never spins.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "parallel/step/step_plan.h"

namespace trireme::step {

// What a rank says of itself once, when its weights are loaded and its memory is known.
struct RankReady {
  int32_t worker_rank = 0;
  int64_t n_kv_blocks = 0;     // that it could hold; the coordinator takes the minimum and answers with SetKvBlocks
  int64_t weight_bytes = 0;
  int64_t load_ns = 0;
  int64_t startup_comm_ns = 0;
  std::string device;
};

struct LoadProgress {
  int32_t worker_rank = 0;
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
};

struct StepTimings {  // one rank's timing of one step
  StepId step;
  StageTiming timing;
  ExpertLoad experts;  // of a few steps only, and of one of the ranks that hold the same experts
};

// Heard by the coordinator. Heartbeats are handled inside the link; a rank unheard for too long becomes a RankFailure.
using RankEvent = std::variant<LoadProgress, RankReady, StepResult, StepTimings, RankFailure>;

// Heard by a rank, in order.
struct SetKvBlocks {  // allocate the pool: every rank the same count
  int64_t n_blocks = 0;
};
struct Shutdown {
  std::string reason;
};
using RankCommand = std::variant<SetKvBlocks, StepPlan, Shutdown>;

// The coordinator's end. One thread.
class CoordinatorLink {
 public:
  virtual ~CoordinatorLink() = default;
  virtual int n_ranks() const = 0;
  // To every rank. Never blocks; unavailable when a rank is gone.
  virtual Status send(const RankCommand& command) = 0;
  // The next event, waiting up to timeout_ns (0: poll). nullopt on timeout.
  virtual std::optional<RankEvent> receive(int64_t timeout_ns) = 0;
  // A file descriptor that becomes readable when receive() may have something; -1 if there is none (inproc).
  virtual int event_fd() const = 0;
};

// A rank's end. receive() and poll() are called by the rank's main thread; send() from any thread.
class RankLink {
 public:
  virtual ~RankLink() = default;
  // Waits until a command comes or the coordinator is lost (unavailable).
  virtual Result<RankCommand> receive() = 0;
  // The next command if it is there; nullopt where receive() would wait.
  virtual Result<std::optional<RankCommand>> poll() = 0;
  virtual Status send(const RankEvent& event) = 0;
};

// The inproc transport: one coordinator end and n rank ends, usable from different threads of this process.
struct InprocLinks {
  std::unique_ptr<CoordinatorLink> coordinator;
  std::vector<std::unique_ptr<RankLink>> ranks;
};
InprocLinks make_inproc_links(int n_ranks);

}  // namespace trireme::step
