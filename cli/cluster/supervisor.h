// Supervisor: keeps the processes of a cluster on one machine running, and ends them together.
//
// A child that dies is started again with backoff, its cause printed; one that says its
// configuration is wrong (exit code kExitBadConfig) or that never came up ends the cluster. SIGINT
// or SIGTERM drains: routers first, so that streams end, then replicas; a second signal ends
// everything at once. Children die with this process however it ends. One thread.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "parallel/launch/child_process.h"

namespace trireme::cli {

enum class Role : uint8_t { kRouter, kReplica };

struct ProcessSpec {
  std::string name;  // "router-0", "replica-1": as printed
  Role role = Role::kRouter;
  launch::SpawnOptions spawn;
  int64_t first_backoff_ns = 0;  // before the first restart; doubles up to kMaxBackoffNs
  // What asks a process that is up to end; one that does not soon gets SIGTERM.
  int leave_signal = SIGTERM;
};

// A line that a child printed on its captured stdout.
using LineSink = std::function<void(const std::string& process, const std::string& line)>;
// Called about every 100 ms while running: returns true once the cluster answers.
using ReadyProbe = std::function<bool()>;

struct SupervisorOptions {
  std::vector<ProcessSpec> processes;
  LineSink on_line;
  ReadyProbe probe;
  std::function<void()> on_ready;  // once
  int64_t drain_ns = 0;            // routers get this long after the first signal
};

class Supervisor {
 public:
  Supervisor(SupervisorOptions options, const Clock& clock);
  ~Supervisor();
  // Runs until the cluster has ended; 0 after a signal, 1 after a failure (already printed).
  int run();

 private:
  struct Child {
    ProcessSpec spec;
    std::unique_ptr<launch::ChildProcess> process;
    int64_t started_ns = 0;
    int64_t restart_at_ns = 0;  // 0: runs
    int n_quick_failures = 0;
    std::string line;  // partial line of its stdout
  };

  Status start(Child& child);
  void wait_for_events(int timeout_ms);
  void read_output(Child& child);
  void reap(Child& child);
  void handle_signal();
  void restart_due();
  bool all_ended(Role role) const;
  void advance_shutdown();
  void signal_all(Role role, int (*signal_of)(const ProcessSpec&));
  int timeout_ms() const;

  SupervisorOptions options_;
  const Clock& clock_;
  std::vector<std::unique_ptr<Child>> children_;
  int signal_fd_ = -1;
  bool ready_ = false;
  bool failed_ = false;
  int n_signals_ = 0;
  int64_t replicas_told_ns_ = 0;   // when the shutdown reached them; 0: not yet
  bool replicas_pressed_ = false;  // they got SIGTERM
  int64_t drain_deadline_ns_ = 0;
};

}  // namespace trireme::cli
